//! The server's life: it listens, becomes ready, and ends without cutting anybody off.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use lockstep_client::proto::{DESCRIPTORS, features_server, scoring_server};
use lockstep_model::Error;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;
use tower::util::{MapRequestLayer, MapResponseLayer};

use super::deadline;
use super::failure::Failure;
use super::features::Grpc;
use super::front::Front;
use super::guard::{Granted, Guard, Role, Token};
use super::http::{self, Http};
use super::service::Service;
use super::unread;
use crate::admin::Admin;
use crate::metrics::code_name;

/// How a server listens.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where.
    pub listen: SocketAddr,
    /// Who is let in.
    pub security: Security,
    /// Threads that answer.
    pub threads: usize,
    /// How long requests may take to end once the server is told to.
    pub drain: Duration,
    /// How long it says that it is not ready before it takes no more connections, so that whoever spreads requests looks elsewhere in time.
    pub linger: Duration,
}

/// Who is let in.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// The server's certificate, with those that lead to the authority, and its key: PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The authority whose certificates clients must have: a PEM file.
    pub client_authority: Option<PathBuf>,
    /// Tokens that let in.
    pub tokens: Vec<Token>,
    /// Listen where others can connect though nothing keeps anybody out.
    pub insecure: bool,
}

/// How often idle connections are asked whether they are there, and how long an answer may take.
const KEEP_ALIVE: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(10)];

/// A server that runs until this is dropped or stopped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    health: HealthReporter,
    runtime: Option<Runtime>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    drain: Duration,
    linger: Duration,
}

/// Starts to listen. It is not ready before it is told so: warm it first.
///
/// # Errors
/// Invalid where the certificates are none, or nothing would keep strangers out; Unavailable where the address is taken.
pub fn start(service: Arc<Service>, admin: Option<Admin>, options: ServerOptions) -> Result<Running, Error> {
    options.security.check(options.listen)?;
    let tls = options.security.tls()?;
    let listen = options.listen;
    let failed = |error: io::Error| Error::unavailable(format!("listen on {listen}: {error} · choose another address")).caused_by(error);
    let listener = StdListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let runtime = Builder::new_multi_thread().worker_threads(options.threads.max(1)).enable_all().thread_name("serve").build().map_err(failed)?;
    let ready = Arc::new(AtomicBool::new(false));
    let (health, health_server) = tonic_health::server::health_reporter();
    let guard = Guard::new(options.security.tokens.clone(), service.limits.requests_per_second);
    let routes = routes(service, Arc::clone(&ready), admin, guard, health_server)?;
    let (end, ended) = oneshot::channel();
    let handle = runtime.handle().clone();
    let serving = async move {
        let incoming = TcpIncoming::from(TcpListener::from_std(listener)?).with_nodelay(Some(true));
        let mut server = Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(KEEP_ALIVE[0]))
            .http2_keepalive_timeout(Some(KEEP_ALIVE[1]))
            .tcp_nodelay(true);
        if let Some(tls) = tls {
            server = server.tls_config(tls).map_err(io::Error::other)?;
        }
        let told = async {
            // Told by being dropped, too.
            let _ = ended.await;
        };
        server.add_routes(routes).serve_with_incoming_shutdown(incoming, told).await.map_err(io::Error::other)
    };
    let run = move || {
        if let Err(error) = handle.block_on(serving) {
            tracing::error!(%error, "serve");
        }
    };
    let thread = thread::Builder::new().name("listen".to_owned()).spawn(run).map_err(failed)?;
    let (drain, linger) = (options.drain, options.linger);
    let running = Running { address, ready, health, runtime: Some(runtime), end: Some(end), thread: Some(thread), drain, linger };
    running.tell(ServingStatus::NotServing);
    Ok(running)
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says that requests are to be sent here.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
        self.tell(ServingStatus::Serving);
    }

    fn tell(&self, status: ServingStatus) {
        let Some(runtime) = &self.runtime else { return };
        runtime.block_on(async {
            for service in ["", features_server::SERVICE_NAME, scoring_server::SERVICE_NAME] {
                self.health.set_service_status(service, status).await;
            }
        });
    }

    /// Says that it ends, answers what it has, and ends. What takes longer than it may is cut off.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let (Some(end), Some(thread)) = (self.end.take(), self.thread.take()) else { return };
        self.ready.store(false, Ordering::Relaxed);
        self.tell(ServingStatus::NotServing);
        thread::sleep(self.linger);
        drop(end);
        let Some(runtime) = self.runtime.take() else { return };
        let drained = runtime.block_on(async {
            let ended = async {
                while !thread.is_finished() {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(self.drain, ended).await
        });
        if drained.is_err() {
            tracing::warn!("requests that took longer than {:?} to end are cut off", self.drain);
        }
        // A thread in the midst of a lookup ends with it.
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Security {
    /// Refuses to listen where strangers can connect and nothing keeps them out.
    fn check(&self, listen: SocketAddr) -> Result<(), Error> {
        let keeps_out = self.client_authority.is_some() || !self.tokens.is_empty();
        if self.client_authority.is_some() && self.identity.is_none() {
            return Err(Error::invalid("clients are to have certificates, and the server has none · give it a certificate and its key"));
        }
        if !listen.ip().is_loopback() && !keeps_out && !self.insecure {
            return Err(Error::invalid(format!(
                "{listen} can be reached by other machines, and nothing would keep anybody out · declare [serve.tokens], or a certificate authority of clients in \
                 [serve.tls], or listen on 127.0.0.1 · `insecure = true` in [serve] listens all the same"
            )));
        }
        if !listen.ip().is_loopback() && !self.tokens.is_empty() && self.identity.is_none() {
            tracing::warn!("tokens are sent to {listen} without TLS: whoever sees the traffic has them");
        }
        Ok(())
    }

    fn tls(&self) -> Result<Option<ServerTlsConfig>, Error> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|error| Error::invalid(format!("read the certificate or key {}: {error}", path.display())).caused_by(error))
        };
        let Some((certificate, key)) = &self.identity else { return Ok(None) };
        let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(read(certificate)?, read(key)?));
        if let Some(authority) = &self.client_authority {
            tls = tls.client_ca_root(Certificate::from_pem(read(authority)?));
        }
        // Where they are none, this says so; later it would be a log line.
        Server::builder().tls_config(tls.clone()).map_err(|error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Error::invalid(format!("{} and {} are no certificate and key: {why}", certificate.display(), key.display()))
        })?;
        Ok(Some(tls))
    }
}

/// Everything that is answered at the address.
fn routes(
    service: Arc<Service>,
    ready: Arc<AtomicBool>,
    admin: Option<Admin>,
    guard: Guard,
    health: HealthServer<impl Health>,
) -> Result<Routes, Error> {
    let undescribed = |error: tonic_reflection::server::Error| Error::internal("describe the services").caused_by(error);
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let request_bytes_max = service.limits.request_bytes_max;
    let shared = Arc::new(Http { service: Arc::clone(&service), ready });
    let mut routes = Routes::from(http::router(shared))
        .add_service(health)
        .add_service(described().build_v1().map_err(undescribed)?)
        // What grpcurl and others of its age ask for.
        .add_service(described().build_v1alpha().map_err(undescribed)?)
        .add_service(scoring(Grpc(Arc::clone(&service)), request_bytes_max))
        .add_service(Front::new(Grpc(service), request_bytes_max));
    if let Some(admin) = admin {
        routes = routes.add_service(admin.over_tcp());
    }
    let mut router = routes.into_axum_router();
    if !guard.is_open() {
        router = router.layer(from_fn_with_state(Arc::new(guard), admit));
    }
    // The last layer is the first to see a request: its time begins when its head is here.
    Ok(Routes::from(router.layer(MapResponseLayer::new(unread::told)).layer(MapRequestLayer::new(deadline::note))).prepare())
}

/// The service that scores, for requests that have so many bytes at most.
fn scoring(grpc: Grpc, request_bytes_max: usize) -> scoring_server::ScoringServer<Grpc> {
    scoring_server::ScoringServer::new(grpc)
        .max_decoding_message_size(request_bytes_max)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
}

/// Lets a request in, or refuses it.
async fn admit(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let Some(role) = needed(request.uri().path()) else { return next.run(request).await };
    match guard.admit(request.headers(), role) {
        Ok(granted) => {
            request.extensions_mut().insert(Granted(granted));
            next.run(request).await
        }
        Err(refused) => {
            let failure = Failure::from(refused);
            // Without what was given as a token, and without the query, which may hold keys.
            tracing::info!(target: "lockstep::request", path = request.uri().path(), code = code_name(failure.code), "a request was refused");
            http::refusal(request.headers(), failure)
        }
    }
}

/// What a path needs; health is nobody's secret.
fn needed(path: &str) -> Option<Role> {
    match path {
        // The page asks for a token itself, where it needs one for what it shows.
        "/healthz" | "/readyz" | "/" => None,
        path if path.starts_with("/page/") => None,
        path if path.starts_with("/grpc.health.v1.Health/") => None,
        path if path.starts_with("/v1/events") || path.ends_with("/PushEvents") => Some(Role::Write),
        "/v1/decisions" | "/v1/outcomes" => Some(Role::Write),
        path if path.ends_with("/ReportDecision") || path.ends_with("/ReportOutcome") => Some(Role::Write),
        // What a question needs is decided by who reads it.
        _ => Some(Role::Read),
    }
}
