//! The stores from the outside: one suite that both pass, and what is AWS Secrets Manager's own.

mod dir;
mod secrets_manager;
mod suite;
