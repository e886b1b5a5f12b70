//! `REQUEST AS` through the server: asked, then pushed, then asked again.

use serde_json::{Value, json};

use crate::project::{Project, wait_for};
use crate::support::Server;

const SERVICE: &str = "CREATE FEATURE SERVICE next_v1 AS SELECT a.payments_7d AS n, a.max_amount_7d AS most
FROM REQUEST AS payments r LEFT JOIN card_activity a ON a.card = r.card;
CREATE FEATURE SERVICE plain_v1 AS SELECT a.payments_7d AS n FROM REQUEST (card VARCHAR) r LEFT JOIN card_activity a ON a.card = r.card;";
const MOMENT: &str = "2024-03-09T12:00:00Z";

#[test]
fn a_request_is_one_with_its_event() {
    let project = Project::new();
    std::fs::write(project.dir.join("feature_defs/next_v1.sql"), SERVICE).unwrap();
    project.run(&["apply"]).fine();
    let server = Server::start(&project);
    let ask = |rest: &str| {
        let (status, body) = server.get(&format!("/v1/features/next_v1?{rest}&card=fresh&merchant=m&country=DE&_as_of={MOMENT}"));
        (status, serde_json::from_str::<Value>(&body).unwrap_or_else(|_| panic!("{body}")))
    };
    let values = |body: &Value| [0, 1].map(|at| body["features"][at]["values"][0].clone());
    let request = "payment_id=5000&amount=12.5";
    let (status, before) = ask(request);
    assert_eq!((status, values(&before)), (200, [json!("1"), json!(12.5)]), "{before}");
    let (status, other) = ask("payment_id=5001&amount=1");
    assert_eq!((status, values(&other)), (200, [json!("1"), json!(1.0)]), "another request has an event of its own: {other}");
    let nulls = json!({"name": "next_v1", "rows": [{"payment_id": null, "card": "fresh", "merchant": null, "country": null, "amount": 12.5}], "as_of": MOMENT});
    let (status, refused) = server.post("/v1/features", &nulls.to_string());
    assert_eq!(status, 400, "{refused}");
    assert!(refused.contains("is no event of `payments` · `payment_id` of the primary key is NULL"), "{refused}");
    let event = json!({"payment_id": 5000, "card": "fresh", "amount": 12.5, "merchant": "m", "country": "DE", "paid_at": MOMENT});
    let (status, body) = server.post("/v1/events/payments", &json!({"rows": [event]}).to_string());
    assert_eq!(status, 200, "{body}");
    let plain = || server.get(&format!("/v1/features/plain_v1?card=fresh&_as_of={MOMENT}")).1;
    wait_for("the event is applied", || plain().replace(' ', "").contains("\"values\":[\"1\"]").then_some(()));
    assert_eq!(values(&ask(request).1), values(&before), "it is the same event");
    assert_eq!(values(&ask("payment_id=5001&amount=99").1), [json!("2"), json!(99.0)]);
}
