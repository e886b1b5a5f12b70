//! What there is beside features: descriptions, health, metrics; and gRPC's own way of saying it.

use lockstep_client::proto::{DescribeServiceRequest, DescribeViewRequest, GetFeaturesRequest, GetStatusRequest, ListViewsRequest};
use lockstep_client::{Answer, Request, Rows};
use serde_json::Value;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::project::Project;
use crate::support::{AT_MICROS, Caller, Server, timeless};

#[test]
fn it_says_what_there_is() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let mut raw = caller.client.raw();
    let (names, view, service, status) = caller.runtime.block_on(async {
        let names = raw.list_views(ListViewsRequest {}).await.unwrap().into_inner();
        let view = raw.describe_view(DescribeViewRequest { name: "card_activity".to_owned() }).await.unwrap().into_inner();
        let service = raw.describe_service(DescribeServiceRequest { name: "fraud_v1".to_owned() }).await.unwrap().into_inner();
        let status = raw.get_status(GetStatusRequest {}).await.unwrap().into_inner();
        (names, view, service, status)
    });
    assert_eq!((names.views.as_slice(), names.services.as_slice()), (["card_activity".to_owned()].as_slice(), ["fraud_v1".to_owned()].as_slice()));
    assert_eq!((view.keys[0].name.as_str(), view.keys[0].sql.as_str(), view.features.len()), ("card", "VARCHAR", 9));
    assert_eq!((view.ttl_micros, view.max_staleness_micros), (Some(30 * 86_400_000_000), Some(60_000_000)));
    assert_eq!(service.request.iter().map(|field| field.sql.as_str()).collect::<Vec<_>>(), ["VARCHAR", "DOUBLE", "VARCHAR"]);
    assert_eq!((service.roles[0].alias.as_str(), service.roles[0].view.as_str()), ("a", "card_activity"));
    // What is pushed is followed, and nothing was.
    let [source] = status.sources.as_slice() else { panic!("{status:?}") };
    assert_eq!((source.source.as_str(), source.followed), ("payments", true));
    assert_eq!((status.definitions, status.views[0].view.as_str()), (1, "card_activity"));

    // The same in JSON.
    let json = |path: &str| -> Value { serde_json::from_str(&server.get(path).1).unwrap() };
    assert_eq!(json("/v1/views")["views"][0], "card_activity");
    assert_eq!(json("/v1/views/card_activity")["meaning"], view.meaning.as_str());
    assert_eq!(json("/v1/services/fraud_v1")["meaning"], service.meaning.as_str());
    assert_eq!(json("/v1/status")["sources"][0]["followed"], true);
    assert_eq!(server.get("/v1/views/card_activty").0, 404);
    let missing = caller.runtime.block_on(raw.describe_view(DescribeViewRequest { name: "card_activty".to_owned() })).unwrap_err();
    assert_eq!(missing.message(), "no feature view named `card_activty` · there are: card_activity · did you mean `card_activity`?");
}

#[test]
fn every_path_is_in_its_description() {
    let project = crate::scoring::project();
    let server = Server::start(&project);
    let (status, text) = server.get("/openapi.json");
    assert_eq!(status, 200);
    let description: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    let names = [("{name}", "card_activity")];
    for (path, operations) in description["paths"].as_object().unwrap() {
        let operations = operations.as_object().unwrap();
        assert!(operations.keys().all(|method| method == "get" || method == "post"), "{path}");
        if operations.contains_key("get") {
            let at =
                names.iter().fold(path.clone(), |path, (hole, name)| path.replace(hole, name)).replace("services/card_activity", "services/fraud_v1");
            let at = at.replace("deployments/card_activity", "deployments/fraud");
            let at = if at.starts_with("/v1/features/") || at.starts_with("/v1/explain/") { format!("{at}?card=c1") } else { at };
            assert_eq!(server.get(&at).0, 200, "{at}");
        }
    }
    // Every reference leads somewhere.
    let schemas = description["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let name = reference.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{reference}"));
        assert!(schemas.contains_key(name), "{reference}");
    }
}

#[test]
fn health_reflection_and_metrics() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let channel = caller.runtime.block_on(lockstep_client::Security::default().connect(&server.url())).unwrap();
    for service in ["", "lockstep.v1.Features"] {
        let check = HealthCheckRequest { service: service.to_owned() };
        let health = caller.runtime.block_on(HealthClient::new(channel.clone()).check(check)).unwrap().into_inner();
        assert_eq!(health.status(), ServingStatus::Serving, "{service:?}");
    }
    let listed = caller.runtime.block_on(async {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(MessageRequest::ListServices(String::new())) };
        let replies = ServerReflectionClient::new(channel).server_reflection_info(futures::stream::iter([request])).await.unwrap();
        match replies.into_inner().message().await.unwrap().unwrap().message_response {
            Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|service| service.name).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    });
    for service in ["lockstep.v1.Features", "lockstep.v1.Admin", "grpc.health.v1.Health"] {
        assert!(listed.iter().any(|listed| listed == service), "{listed:?}");
    }
    assert_eq!((server.get("/healthz").0, server.get("/readyz").0), (200, 200));
    server.get("/v1/features/card_activity?card=nobody");
    server.get("/v1/features/card_activity");
    let (_, metrics) = server.get("/metrics");
    for line in [
        "lockstep_requests_total{protocol=\"http\",code=\"OK\"} 1",
        "lockstep_requests_total{protocol=\"http\",code=\"INVALID_ARGUMENT\"} 1",
        "lockstep_request_seconds_count{protocol=\"http\"} 2",
        "lockstep_values_total{target=\"card_activity\",status=\"not_found\"} 9",
        "lockstep_request_rows_total{target=\"card_activity\"} 1",
        "lockstep_requests_in_flight 0",
        "lockstep_definitions 1",
        "lockstep_source_applied_rows{source=\"payments\"} 60",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
}

#[test]
fn what_is_compressed_says_the_same() {
    let project = crate::scoring::project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let request = || Request::new("card_activity").column("card", vec!["c1"; 500]).as_of(AT_MICROS).into_message();
    let rows = || Rows::of("fraud").column("card", vec!["c1"; 500]).column("amount", vec![60.5; 500]).column("country", vec!["FR"; 500]);
    let rows = || rows().as_of(AT_MICROS).into_message();
    let (mut plain, mut scoring) = (caller.client.raw(), caller.client.raw_scoring());
    let mut packed = plain.clone().send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    let mut packed_scoring = scoring.clone().send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    caller.runtime.block_on(async {
        let (wanted, given) = (plain.get_features(request()).await.unwrap(), packed.get_features(request()).await.unwrap());
        assert_eq!([wanted.metadata(), given.metadata()].map(|head| head.contains_key("grpc-encoding")), [false, true]);
        assert_eq!(timeless(Answer(wanted.into_inner())), timeless(Answer(given.into_inner())));
        let (wanted, given) = (scoring.score(rows()).await.unwrap(), packed_scoring.score(rows()).await.unwrap());
        assert!(given.metadata().contains_key("grpc-encoding"));
        assert_eq!(wanted.into_inner().predictions, given.into_inner().predictions);
        // What is small is held to the bound by what it is unpacked.
        let bomb = GetFeaturesRequest { request_id: "a".repeat(64 << 20), ..request() };
        let status = packed.get_features(bomb).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    });
    assert!(server.peak_memory() >> 10 < 1024);
}
