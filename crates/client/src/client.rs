//! A connection to a server, and what is asked over it.

use std::ops::Range;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, transport};

use crate::proto::features_client::FeaturesClient;
use crate::proto::scoring_client::ScoringClient;
use crate::proto::{self, GetFeaturesRequest, GetFeaturesResponse, Metadata, RequestColumn, TimeMode};
use crate::score::{Decision, Outcome, Rows, Scores};
use crate::values::{Column, FromValues, WrongType};

/// Longest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long a connection may take to be made.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// How often a silent connection is asked whether it is there, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A client of one server. Cloning it is cheap, and clones share a connection.
#[derive(Debug, Clone)]
pub struct Client {
    inner: FeaturesClient<InterceptedService<Channel, Bearer>>,
    scoring: ScoringClient<InterceptedService<Channel, Bearer>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none, or nobody listens there.
    #[error("connect: {0}")]
    Transport(#[from] transport::Error),
    /// The token has bytes that a header cannot hold.
    #[error("the token is no text that a header can hold")]
    Token,
}

/// A name that is not among the features of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer has no feature `{0}`")]
pub struct UnknownFeature(pub String);

/// How a connection is secured.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// Says who is asking, in every call.
    pub token: Option<String>,
    /// The authority of the server's certificate, in PEM; those that the system trusts where absent.
    pub authority: Option<Vec<u8>>,
    /// A certificate of one's own and its key, in PEM, where the server wants one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Security {
    /// A connection to a server.
    ///
    /// # Errors
    /// Where the address is none, or nobody listens there.
    pub async fn connect(&self, address: &str) -> Result<Channel, ConnectError> {
        let endpoint = Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true).connect_timeout(CONNECTED_WITHIN);
        let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE);
        if !address.starts_with("https:") {
            return Ok(endpoint.connect().await?);
        }
        let mut tls = match &self.authority {
            Some(authority) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        Ok(endpoint.tls_config(tls)?.connect().await?)
    }
}

impl Client {
    /// Connects to a server, such as `http://localhost:7474`, or `https://…` where it has a certificate that the system trusts.
    ///
    /// # Errors
    /// Where the address is none, or nobody listens there.
    pub async fn connect(address: impl AsRef<str>) -> Result<Client, ConnectError> {
        Client::connect_with(address, &Security::default()).await
    }

    /// As [`Self::connect`], with a token or certificates.
    ///
    /// # Errors
    /// As [`Self::connect`]; where a header cannot hold the token.
    pub async fn connect_with(address: impl AsRef<str>, security: &Security) -> Result<Client, ConnectError> {
        let bearer = Bearer::new(security.token.as_deref())?;
        let channel = security.connect(address.as_ref()).await?;
        let inner = FeaturesClient::with_interceptor(channel.clone(), bearer.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let scoring = ScoringClient::with_interceptor(channel, bearer).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Client { inner, scoring })
    }

    /// The features of the entities asked for.
    ///
    /// # Errors
    /// As the server says; DeadlineExceeded where the answer did not come in time.
    pub async fn get_features(&self, request: Request) -> Result<Answer, Status> {
        let Request { request, deadline } = request;
        let mut request = tonic::Request::new(request);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        let answered = self.inner.clone().get_features(request).await;
        Ok(Answer(answered.map_err(|status| in_time(status, deadline))?.into_inner()))
    }

    /// The predictions of a deployment for rows.
    ///
    /// # Errors
    /// As the server says; DeadlineExceeded where the answer did not come in time.
    pub async fn score(&self, rows: Rows) -> Result<Scores, Status> {
        let Rows { request, deadline } = rows;
        let mut request = tonic::Request::new(request);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        let scored = self.scoring.clone().score(request).await;
        Ok(Scores(scored.map_err(|status| in_time(status, deadline))?.into_inner()))
    }

    /// Tells what was done with rows that were scored; that is on the disk once this returns. To repeat it is harmless.
    ///
    /// # Errors
    /// As the server says.
    pub async fn report_decisions(&self, decisions: impl IntoIterator<Item = Decision>) -> Result<(), Status> {
        let decisions = decisions.into_iter().map(Decision::into_message).collect();
        self.scoring.clone().report_decision(proto::ReportDecisionRequest { decisions }).await.map(drop)
    }

    /// Tells what came of rows that were scored; likewise.
    ///
    /// # Errors
    /// As the server says.
    pub async fn report_outcomes(&self, outcomes: impl IntoIterator<Item = Outcome>) -> Result<(), Status> {
        let outcomes = outcomes.into_iter().map(Outcome::into_message).collect();
        self.scoring.clone().report_outcome(proto::ReportOutcomeRequest { outcomes }).await.map(drop)
    }

    /// The calls that score, as they were generated.
    pub fn raw_scoring(&self) -> ScoringClient<InterceptedService<Channel, Bearer>> {
        self.scoring.clone()
    }

    /// The calls as they were generated, for all else.
    pub fn raw(&self) -> FeaturesClient<InterceptedService<Channel, Bearer>> {
        self.inner.clone()
    }
}

/// A call that was given up here at its deadline counts as cancelled to tonic; to whoever set the deadline it is exceeded.
fn in_time(status: Status, deadline: Option<Duration>) -> Status {
    match deadline {
        Some(deadline) if status.code() == Code::Cancelled => Status::deadline_exceeded(format!("the answer did not come within {deadline:?}")),
        _ => status,
    }
}

/// Says who is asking.
#[derive(Debug, Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// With a token, or none.
    ///
    /// # Errors
    /// Where a header cannot hold it.
    pub fn new(token: Option<&str>) -> Result<Bearer, ConnectError> {
        let Some(token) = token else { return Ok(Bearer(None)) };
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| ConnectError::Token)?;
        // Not shown where headers are printed.
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    request: GetFeaturesRequest,
    deadline: Option<Duration>,
}

impl Request {
    /// Asks for a feature service, or a feature view.
    pub fn new(name: impl Into<String>) -> Request {
        Request { request: GetFeaturesRequest { name: name.into(), ..GetFeaturesRequest::default() }, deadline: None }
    }

    /// Asks for features of views, each as `view.feature`.
    pub fn features<N: Into<String>>(features: impl IntoIterator<Item = N>) -> Request {
        Request::new("").only(features)
    }

    /// Only these outputs, in this order.
    #[must_use]
    pub fn only<N: Into<String>>(mut self, features: impl IntoIterator<Item = N>) -> Request {
        self.request.features = features.into_iter().map(Into::into).collect();
        self
    }

    /// A column that the service or view is asked with: a value for each row.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, values: impl Column) -> Request {
        self.request.columns.push(RequestColumn { name: name.into(), values: Some(values.into_values()) });
        self
    }

    /// The moment of every row, µs since 1970, UTC; now where none is given.
    #[must_use]
    pub fn as_of(mut self, micros: i64) -> Request {
        self.request.as_of_micros = vec![micros];
        self
    }

    /// A moment for each row, µs since 1970, UTC.
    #[must_use]
    pub fn as_of_each(mut self, micros: Vec<i64>) -> Request {
        self.request.as_of_micros = micros;
        self
    }

    /// Which clock counts.
    #[must_use]
    pub fn time(mut self, time: TimeMode) -> Request {
        self.request.time = time.into();
        self
    }

    /// How much is to be said beside the values.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Request {
        self.request.metadata = metadata.into();
        self
    }

    /// A name for this request, which comes back.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Request {
        self.request.request_id = id.into();
        self
    }

    /// Answer only where the pointer to what serves has been moved at least so often, as an earlier answer or a promotion said: Unavailable from a server that has not
    /// seen it yet.
    #[must_use]
    pub fn min_epoch(mut self, epoch: u64) -> Request {
        self.request.min_epoch = Some(epoch);
        self
    }

    /// From the snapshot of this name, at its moment or an earlier one.
    #[must_use]
    pub fn snapshot(mut self, name: impl Into<String>) -> Request {
        self.request.snapshot = name.into();
        self
    }

    /// How long the answer may take; the server drops it unread after that.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Request {
        self.deadline = Some(deadline);
        self
    }

    /// The message.
    pub fn into_message(self) -> GetFeaturesRequest {
        self.request
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer(pub GetFeaturesResponse);

impl Answer {
    /// A feature by its name.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn feature(&self, name: &str) -> Result<Feature<'_>, UnknownFeature> {
        self.features().find(|feature| feature.0.name == name).ok_or_else(|| UnknownFeature(name.to_owned()))
    }

    /// All of them, in order.
    pub fn features(&self) -> impl Iterator<Item = Feature<'_>> {
        self.0.features.iter().map(Feature)
    }

    /// The rows that answer a row of the request: its candidates, or the one of its own number where there are none.
    pub fn rows_of(&self, request: u32) -> Range<usize> {
        if self.0.candidates.is_empty() {
            return request as usize..request as usize + 1;
        }
        let rows = &self.0.request_rows;
        rows.partition_point(|row| *row < request)..rows.partition_point(|row| *row <= request)
    }

    /// When the oldest thing happened that each row is made from, µs; none where nothing is behind any, or metadata was left out.
    pub fn oldest_inputs(&self) -> Vec<Option<i64>> {
        moments(&self.0.oldest_inputs_micros)
    }
}

/// Moments of rows as the wire has them.
pub(crate) fn moments(micros: &[i64]) -> Vec<Option<i64>> {
    micros.iter().map(|&at| (at != i64::MIN).then_some(at)).collect()
}

/// One feature of all rows.
#[derive(Debug, Clone, Copy)]
pub struct Feature<'a>(pub &'a proto::Feature);

impl Feature<'_> {
    /// Its values.
    ///
    /// # Errors
    /// Where they are of another type.
    pub fn values<T: FromValues>(&self) -> Result<Vec<Option<T>>, WrongType> {
        T::from_values(self.0.values.as_ref().unwrap_or(&proto::Values::default()))
    }

    /// Its statuses; none where metadata was left out.
    pub fn statuses(&self) -> Vec<proto::Status> {
        self.0.statuses().collect()
    }
}
