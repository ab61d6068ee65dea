//! The door to Amazon IVS.

use std::time::Duration;

use ivs_playback_auth::{clock::Moment, ivs::IvsError};

use crate::app::{START, TestApp};

#[tokio::test]
async fn every_answer_tells_the_time_of_ivs_an_error_too() {
    let app = TestApp::start_without_key().await;
    let ivs = app.regional_ivs();
    let clock = &app.app.api().clock;
    assert!(ivs.server_time().is_none());

    ivs.get_channel(&app.channel).await.unwrap();
    let first = ivs.server_time().unwrap();
    assert_eq!((first.date, first.received.wall), (START, START));

    let minute = Duration::from_mins(1);
    app.clock.advance(minute);
    let absent = "arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234".parse().unwrap();
    assert_eq!(ivs.get_playback_key_pair(&absent).await, Err(IvsError::NotFound));
    let second = ivs.server_time().unwrap();
    assert_eq!((second.date, second.received.wall), (START + minute, START + minute));

    // Our own wall clock goes wrong; what IVS said does not.
    app.clock.set_wall(START + Duration::from_hours(7));
    assert_eq!(second.at(Moment::of(clock)), START + minute);
    assert!(second.skew_from(Moment::of(clock)) > Duration::from_hours(6));
    app.stop_emulator();
    ivs.list_playback_key_pairs().await.unwrap_err();
    assert_eq!(ivs.server_time().unwrap().date, START + minute);
}
