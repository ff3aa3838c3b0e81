//! A line of an agency's file: no panic; the quick reader takes nothing that the rules would refuse; and
//! what is sent of it is what the server would store.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loteria::bet::row::{Fields, write_row};
use loteria::bet::{Agencies, AgencyId, plain_bet};
use loteria::protocol::{BatchReader, BatchWriter, MESSAGE_BYTES_MAX};

fuzz_target!(|data: &[u8]| {
    let agency = AgencyId::new(7).expect("7 is an agency");
    let agencies = Agencies::new(9).expect("9 is a number of agencies");
    let mut plainly = BatchWriter::new(agency, u32::MAX);
    let mut slowly = BatchWriter::new(agency, u32::MAX);
    let mut expected = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let line = &rest[..end];
        let fields = Fields::parse(line);
        let bet = fields.as_ref().ok().and_then(|fields| fields.bet().ok());
        if plain_bet(rest, b',').is_some_and(|bet| bet.end() == end) {
            let bet = bet.expect("what is plainly valid is valid");
            assert_eq!(bet.fields().join(",").as_bytes(), line);
        }
        if let Some(bet) = bet {
            write_row(agency, &bet, &mut expected);
            slowly.push(agency, bet);
            if line.contains(&b'"') {
                plainly.push(agency, bet);
            } else {
                plainly.push_line(rest, end);
            }
        }
        rest = &rest[end + 1..];
    }
    plainly.close();
    slowly.close();
    assert_eq!(plainly.messages(), slowly.messages());
    assert_eq!(plainly.closed(), slowly.closed());

    let reader = BatchReader::new(agency, agencies);
    let (mut rows, mut messages) = (Vec::new(), plainly.messages());
    for bets in plainly.closed() {
        let batch = reader.read(messages, &mut rows).expect("what is sent can be read");
        assert_eq!(batch.bets, *bets);
        assert!(batch.message_bytes <= MESSAGE_BYTES_MAX);
        messages = &messages[batch.message_bytes..];
    }
    assert!(messages.is_empty());
    assert_eq!(rows, expected);
});
