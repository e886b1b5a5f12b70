//! Who is let in.

use std::fs;

use lockstep_client::{Client, Request, Security};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::Code;

use crate::project::Project;
use crate::support::{AT_MICROS, Server, agent, read};

const CONFIG: &str = "lockstep.toml";

pub fn settings(project: &Project, more: &str) {
    let path = project.dir.join(CONFIG);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}\n{more}")).unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn card() -> Request {
    Request::new("card_activity").column("card", ["c1"]).as_of(AT_MICROS)
}

#[test]
fn tokens_let_in_and_their_roles_say_how_far() {
    let project = Project::new();
    for (name, secret) in [("reader", "r3ad-me"), ("root", "adm1n")] {
        fs::write(project.dir.join(name), format!("{secret}\n")).unwrap();
    }
    settings(&project, "[serve.tokens.dashboard]\nrole = 'read'\nfile = 'reader'\n[serve.tokens.release]\nrole = 'admin'\nfile = 'root'\n");
    let server = Server::start(&project);
    let ask = |token: Option<&str>| {
        let security = Security { token: token.map(str::to_owned), ..Security::default() };
        runtime().block_on(async {
            Client::connect_with(server.url(), &security).await.unwrap().get_features(card()).await.map_err(|status| status.code())
        })
    };
    assert_eq!(ask(None).unwrap_err(), Code::Unauthenticated);
    assert_eq!(ask(Some("r3ad-me2")).unwrap_err(), Code::Unauthenticated);
    assert!(ask(Some("r3ad-me")).is_ok() && ask(Some("adm1n")).is_ok());
    // Over HTTP too, but for health.
    let get = |path: &str, token: Option<&str>| {
        let request = agent().get(format!("{}{path}", server.url()));
        let request = if let Some(token) = token { request.header("authorization", format!("Bearer {token}")) } else { request };
        read(request.call())
    };
    for path in ["/v1/features/card_activity?card=c1", "/metrics", "/v1/status", "/openapi.json", "/nothing"] {
        assert_eq!(get(path, None).0, 401, "{path}");
        assert_ne!(get(path, Some("r3ad-me")).0, 401, "{path}");
    }
    assert_eq!((get("/healthz", None).0, get("/readyz", None).0), (200, 200));
    // What is reported is written down.
    for path in ["/v1/decisions", "/v1/outcomes", "/v1/events/payments"] {
        let told = |token: &str| {
            let request = agent().post(format!("{}{path}", server.url())).header("authorization", format!("Bearer {token}"));
            read(request.send("{}")).0
        };
        assert_eq!(told("r3ad-me"), 403, "{path}");
        assert_ne!(told("adm1n"), 403, "{path}");
    }
    // Verbs: what reads and what changes the store.
    let verb = |token: &str, args: &[&str]| {
        let mut command = project.command(args);
        command.env("LOCKSTEP_SERVER", server.url()).env("LOCKSTEP_TOKEN", token);
        crate::project::Ended::from(command.output().unwrap())
    };
    verb("r3ad-me", &["status"]).fine();
    verb("r3ad-me", &["plan"]).fine();
    verb("r3ad-me", &["plan", "--values", "--markdown"]).fine();
    verb("r3ad-me", &["apply", "--list"]).fine();
    let refused = verb("r3ad-me", &["apply"]).error();
    assert!(refused.contains("`lockstep apply` changes the store, which needs a token with the role admin; this one has read"), "{refused}");
    verb("adm1n", &["apply"]).fine();
    let unknown = verb("guess", &["status"]).error();
    assert!(unknown.contains("no token, or one that is not known"), "{unknown}");
    let ended = server.terminate();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(!ended.err.contains("r3ad-me") && !ended.err.contains("adm1n"), "{ended:?}");
}

#[test]
fn it_does_not_listen_to_strangers_unless_told_so() {
    let project = Project::new();
    let refused = project.run(&["serve", "--listen", "0.0.0.0:0"]).error();
    assert!(refused.contains("can be reached by other machines, and nothing would keep anybody out"), "{refused}");
    let wrong = project.run(&["serve", "--listen", "nowhere"]).error();
    assert!(wrong.contains("write an address and a port, such as 127.0.0.1:7474"), "{wrong}");
    settings(&project, "[serve]\ninsecure = true\n");
    let server = Server::start_with(&project, &["--listen", "0.0.0.0:0"]);
    assert!(server.address.starts_with("0.0.0.0:"));
}

/// An authority, and certificates that it signed, as files of a project.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(project: &Project, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap());
        fs::write(project.dir.join(format!("{name}.pem")), authority.pem()).unwrap();
        authority
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

#[test]
fn certificates_on_both_sides() {
    let project = Project::new();
    let (servers, clients, strangers) =
        (Authority::new(&project, "servers"), Authority::new(&project, "clients"), Authority::new(&project, "strangers"));
    let (certificate, key) = servers.sign();
    fs::write(project.dir.join("server.pem"), certificate).unwrap();
    fs::write(project.dir.join("server.key"), key).unwrap();
    settings(&project, "[serve.tls]\ncertificate = 'server.pem'\nkey = 'server.key'\nclient_authority = 'clients.pem'\n");
    let server = Server::start(&project);
    let url = server.url().replace("http:", "https:");
    let ask = |authority: Option<&Authority>, identity: Option<(String, String)>| {
        let identity = identity.map(|(certificate, key)| (certificate.into_bytes(), key.into_bytes()));
        let security = Security { authority: authority.map(|authority| authority.pem().into_bytes()), identity, token: None };
        runtime().block_on(async {
            let client = Client::connect_with(&url, &security).await.map_err(|error| error.to_string())?;
            client.get_features(card()).await.map(|answer| answer.0.rows).map_err(|status| status.to_string())
        })
    };
    assert_eq!(ask(Some(&servers), Some(clients.sign())), Ok(1));
    for (what, refused) in [
        ("no certificate", ask(Some(&servers), None)),
        ("one of another authority", ask(Some(&servers), Some(strangers.sign()))),
        ("a server whose authority is not known", ask(Some(&strangers), Some(clients.sign()))),
        ("one that the system does not trust", ask(None, Some(clients.sign()))),
    ] {
        assert!(refused.is_err(), "{what}: {refused:?}");
    }
    // Plain text at a port that speaks TLS.
    assert!(
        runtime()
            .block_on(async { Client::connect(server.url()).await?.get_features(card()).await.map_err(|_| lockstep_client::ConnectError::Token) })
            .is_err()
    );
}

#[test]
fn certificates_that_are_none_are_told_at_once() {
    let project = Project::new();
    fs::write(project.dir.join("server.pem"), "no certificate").unwrap();
    settings(&project, "[serve.tls]\ncertificate = 'server.pem'\nkey = 'server.key'\n");
    let missing = project.run(&["serve"]).error();
    assert!(missing.contains("read the certificate or key") && missing.contains("server.key"), "{missing}");
    fs::write(project.dir.join("server.key"), "no key").unwrap();
    let wrong = project.run(&["serve"]).error();
    assert!(wrong.contains("are no certificate and key"), "{wrong}");
}

#[test]
fn a_rate_is_kept() {
    let project = Project::new();
    settings(&project, "[serve]\nrequests_per_second = 5\n");
    let server = Server::start(&project);
    let statuses: Vec<u16> = (0..40).map(|_| server.get("/v1/views").0).collect();
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!((5..30).contains(&taken) && statuses.contains(&429), "{statuses:?}");
}

/// The events of a log in JSON that are of requests.
fn requests(log: &str) -> Vec<serde_json::Value> {
    let events = log.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
    events.filter(|event| event["target"] == "lockstep::request").collect()
}

#[test]
fn the_log_tells_of_requests_and_of_no_secret() {
    let project = Project::new();
    let servers = Authority::new(&project, "servers");
    let (certificate, key) = servers.sign();
    fs::write(project.dir.join("server.pem"), certificate).unwrap();
    fs::write(project.dir.join("server.key"), &key).unwrap();
    fs::write(project.dir.join("reader"), "r3ad-me\n").unwrap();
    settings(
        &project,
        "[serve]\nslow = '1 microsecond'\n[serve.tls]\ncertificate = 'server.pem'\nkey = 'server.key'\n[serve.tokens.dashboard]\nrole = 'read'\nfile = 'reader'\n",
    );
    let server = Server::start_with(&project, &["--log-format", "json", "-vv"]);
    let url = server.url().replace("http:", "https:");
    let ask = |token: &str, request: Request| {
        let security = Security { token: Some(token.to_owned()), authority: Some(servers.pem().into_bytes()), ..Security::default() };
        runtime().block_on(async { Client::connect_with(&url, &security).await.unwrap().get_features(request).await.map_err(|status| status.code()) })
    };
    assert!(ask("r3ad-me", card().id("slow-one")).is_ok());
    assert_eq!(ask("r3ad-me", card().column("amount", ["what-a-row-says"]).id("wrong-one")).unwrap_err(), Code::InvalidArgument);
    assert_eq!(ask("guess-m3", card()).unwrap_err(), Code::Unauthenticated);
    let ended = server.terminate();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let told = requests(&ended.err);
    let of = |id: &str| told.iter().find(|event| event["request_id"] == id).unwrap_or_else(|| panic!("{id}: {}", ended.err));
    let slow = of("slow-one");
    assert_eq!((&slow["name"], &slow["rows"], &slow["code"], &slow["protocol"]), (&"card_activity".into(), &1.into(), &"OK".into(), &"grpc".into()));
    assert!(slow["level"] == "WARN" && slow["micros"].as_u64().unwrap() > 0, "{slow}");
    let wrong = of("wrong-one");
    assert_eq!((&wrong["level"], &wrong["code"]), (&"INFO".into(), &"INVALID_ARGUMENT".into()));
    let path = "/lockstep.v1.Features/GetFeatures";
    assert!(told.iter().any(|event| event["code"] == "UNAUTHENTICATED" && event["path"] == path), "{}", ended.err);
    // However much is said: no token, whether right or wrong, no key, and nothing of what is asked with.
    let lines_of_key = key.lines().filter(|line| !line.starts_with("-----"));
    for secret in ["r3ad-me", "guess-m3", "what-a-row-says"].into_iter().chain(lines_of_key) {
        assert!(!ended.err.contains(secret), "{secret}: {}", ended.err);
    }
}
