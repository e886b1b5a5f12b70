//! Each thing that is asked wrongly has an answer of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lockstep_client::Request;
use lockstep_client::proto::{GetFeaturesRequest, RequestColumn, Values};
use tonic::Code;

use crate::project::Project;
use crate::support::{AT_MICROS, Caller, Server};

#[test]
fn wrong_requests_say_what_is_wrong() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let fraud = || Request::new("fraud_v1").as_of(AT_MICROS);
    let columns = "it is asked with card VARCHAR, amount DOUBLE, country VARCHAR";
    let asked = "`fraud_v1` is asked with card VARCHAR, amount DOUBLE, country VARCHAR";
    let cases: Vec<(Request, Code, String)> = vec![
        (Request::new("fraud_v2"), Code::NotFound, "no feature service or view named `fraud_v2` · services: fraud_v1 · views: card_activity · did you mean `fraud_v1`?".to_owned()),
        (Request::new(""), Code::InvalidArgument, "nothing is asked for · give `name`, a feature service or view, or `features`, each as view.feature".to_owned()),
        (fraud().column("card", ["c1"]).column("amount", [1.0]), Code::InvalidArgument, format!("column `country` is missing · {asked}")),
        (
            fraud().column("card", ["c1"]).column("amuont", [1.0]).column("country", ["FR"]),
            Code::InvalidArgument,
            format!("`fraud_v1` is not asked with a column `amuont` · {columns} · did you mean `amount`?"),
        ),
        (fraud().column("card", ["c1"]).column("card", ["c1"]), Code::InvalidArgument, "column `card` is given twice".to_owned()),
        (
            fraud().column("card", ["c1"]).column("amount", ["much"]).column("country", ["FR"]),
            Code::InvalidArgument,
            "column `amount`: it is DOUBLE, and strings were given".to_owned(),
        ),
        (
            fraud().column("card", ["c1"]).column("amount", [1_i64 << 60]).column("country", ["FR"]),
            Code::InvalidArgument,
            format!("column `amount`: row 0 has {}, which is not a number that a DOUBLE holds", 1_i64 << 60),
        ),
        (
            fraud().column("card", ["c1", "c2"]).column("amount", [1.0]).column("country", ["FR", "DE"]),
            Code::InvalidArgument,
            "column `amount` has 1 values, and `card` has 2".to_owned(),
        ),
        (
            Request::new("fraud_v1").as_of_each(vec![1, 2, 3]).column("card", ["c1"]).column("amount", [1.0]).column("country", ["FR"]),
            Code::InvalidArgument,
            "3 moments are given for 1 rows · give one, or one for each".to_owned(),
        ),
        (
            Request::new("fraud_v1").only(["payments_2h"]),
            Code::NotFound,
            "`fraud_v1` has no feature `payments_2h` · features: amount, payments_1h, spent_1h, avg_amount_7d, amount_against_usual, merchants_7d, other_country · did you mean `payments_1h`?"
                .to_owned(),
        ),
        (
            Request::features(["payments_1h"]),
            Code::InvalidArgument,
            "`payments_1h` is no view.feature · give `name` beside `features` to choose among the outputs of one service or view".to_owned(),
        ),
        (Request::features(["card_activty.payments_1h"]), Code::NotFound, "no feature service or view named `card_activty` · services: fraud_v1 · views: card_activity · did you mean `card_activity`?".to_owned()),
        (
            Request::new("card_activity").column("card", vec!["c1"; 10_001]),
            Code::OutOfRange,
            "10001 rows are asked for, and one request may have 10000 · ask for them by StreamFeatures, or in several requests".to_owned(),
        ),
    ];
    for (request, code, message) in cases {
        assert_eq!(caller.refused(request), (code, message));
    }
}

/// What no client of ours would send.
#[test]
fn columns_that_contradict_themselves_are_refused() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let column = |values: Option<Values>| GetFeaturesRequest {
        name: "card_activity".to_owned(),
        columns: vec![RequestColumn { name: "card".to_owned(), values }],
        ..GetFeaturesRequest::default()
    };
    let strings = |nulls: Vec<u32>| Values {
        values: Some(lockstep_client::proto::values::Values::Strings(lockstep_client::proto::Strings { values: vec!["c1".to_owned()] })),
        nulls,
    };
    let refused = |request: GetFeaturesRequest| {
        let status = caller.runtime.block_on(caller.client.raw().get_features(request)).unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let invalid = |message: &str| (Code::InvalidArgument, message.to_owned());
    assert_eq!(refused(column(None)), invalid("column `card`: it has no values"));
    assert_eq!(refused(column(Some(strings(vec![1])))), invalid("column `card`: a NULL in row 1, of 1"));
    assert_eq!(refused(column(Some(Values { values: None, nulls: vec![5] }))), invalid("column `card`: it has no values"));
    assert_eq!(refused(GetFeaturesRequest { rows: 2, ..column(Some(strings(vec![]))) }), invalid("2 rows are asked for, and the columns have 1"));
    assert_eq!(refused(GetFeaturesRequest { time: 7, ..column(Some(strings(vec![]))) }), invalid("no time mode has the number 7"));
    assert_eq!(refused(GetFeaturesRequest { metadata: -1, ..column(Some(strings(vec![]))) }), invalid("no kind of metadata has the number -1"));
    let huge = refused(GetFeaturesRequest { rows: u32::MAX, ..column(Some(strings(vec![]))) });
    assert_eq!(huge.0, Code::OutOfRange, "{huge:?}");
}

#[test]
fn requests_of_json_say_what_is_wrong_too() {
    let project = Project::new();
    let server = Server::start(&project);
    let cases = [
        ("{", 400, "the body is no request: EOF while parsing an object at line 1 column 1"),
        (r#"{"nmae": "fraud_v1"}"#, 400, "the body is no request: unknown field `nmae`"),
        (
            r#"{"name": "card_activity", "rows": [{"card": "c1"}, {}]}"#,
            400,
            "row 1 has no `card`, and row 0 has · write null where there is no value",
        ),
        (r#"{"name": "card_activity", "rows": [{"card": [1]}]}"#, 400, "column `card`: row 0 has [1], and it is of type VARCHAR"),
        (r#"{"name": "card_activity", "rows": [{"card": "c1"}], "as_of": "yesterday"}"#, 400, "`as_of`: "),
        (r#"{"name": "cards", "rows": [{"card": "c1"}]}"#, 404, "no feature service or view named `cards`"),
        (r#"{"name": "card_activity", "rows": [{"card": "c1"}], "as_of": ["2024-03-08", "2024-03-09"]}"#, 400, "2 moments are given for 1 rows"),
    ];
    for (body, code, message) in cases {
        let (status, answer) = server.post("/v1/features", body);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let said = answer["message"].as_str().unwrap();
        assert!(status == code && said.starts_with(message), "{body}: {status} {said}");
    }
    let (status, answer) = server.get("/v1/features/card_activity?card=c1&_as=now");
    assert!(status == 400 && answer.contains("no setting `_as`"), "{answer}");
    // By its length, before it is sent.
    let mut connection = TcpStream::connect(&server.address).unwrap();
    let head = format!("POST /v1/features HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", server.address, 5 << 20);
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    connection.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 512];
    let read = connection.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("more than 4194304 bytes"), "{answer}");
    let (status, answer) = server.get("/v2/features");
    assert!(status == 404 && answer.contains("/openapi.json"), "{answer}");
}
