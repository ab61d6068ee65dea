//! `ECPrivateKey` (SEC 1, RFC 5915), as far as it must be read before it can be judged.

use pkcs8::der::{
    Decode as _, Error, Reader as _, SliceReader, TagNumber,
    asn1::{AnyRef, BitStringRef, ContextSpecific, OctetStringRef},
};

/// The members of `ECPrivateKey`. The `sec1` crate refuses explicit parameters as damage, where
/// we want to name them.
pub(super) struct Sec1<'a> {
    pub(super) scalar: &'a [u8],
    pub(super) parameters: Option<AnyRef<'a>>,
    pub(super) point: Option<&'a [u8]>,
}

impl<'a> Sec1<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, Error> {
        let whole = AnyRef::from_der(der)?;
        let mut reader = SliceReader::new(whole.value())?;
        let _version = u8::decode(&mut reader)?;
        let scalar = <&OctetStringRef>::decode(&mut reader)?.as_bytes();
        let parameters = ContextSpecific::<AnyRef<'a>>::decode_explicit(&mut reader, TagNumber(0))?
            .map(|field| field.value);
        let point =
            ContextSpecific::<BitStringRef<'a>>::decode_explicit(&mut reader, TagNumber(1))?
                .map(|field| field.value.raw_bytes());
        reader.finish()?;
        Ok(Self { scalar, parameters, point })
    }
}
