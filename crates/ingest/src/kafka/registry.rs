//! A schema registry: what it has under the ids that records say.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockstep_model::Error;
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use url::Url;

/// How long an answer is waited for.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(8);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Most schemas that one may refer to, with those that they refer to.
const REFERENCES_MAX: usize = 100;
/// The code of a registry that has no schema under an id: other things than registries say 404 too.
const NO_SCHEMA: i64 = 40_403;

/// Where the registry is and who asks it, as the settings say.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) url: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) token: Option<String>,
    pub(super) ca: Option<PathBuf>,
}

/// A registry that is asked for schemas.
pub(super) struct Registry {
    agent: Agent,
    url: Url,
    authorization: Option<String>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// What a registry has.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A schema, and those that it uses, each after those that it uses itself.
    Schema { text: String, references: Vec<String> },
    /// None that can be used: why.
    Nothing(String),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It cannot be reached or does not answer now.
    Away(String),
    /// What comes right by no waiting.
    Wrong(Error),
}

impl Access {
    /// Sets what a property says; whether there is such a one.
    pub(super) fn set(&mut self, name: &str, value: &str) -> bool {
        let value = value.to_owned();
        match name {
            "registry" | "registry.url" => self.url = Some(value),
            "registry.user" => self.user = Some(value),
            "registry.password" => self.password = Some(value),
            "registry.token" => self.token = Some(value),
            "registry.ca" => self.ca = Some(value.into()),
            _ => return false,
        }
        true
    }

    /// What is said to the registry at `url`: what the settings say goes to the one that they name, and to no other.
    fn authorization(&self, url: &str) -> Option<String> {
        if self.url.as_ref().is_some_and(|ours| ours.trim_end_matches('/') != url) {
            return None;
        }
        match (&self.token, &self.user) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some(user)) => {
                let password = self.password.as_deref().unwrap_or_default();
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            (None, None) => None,
        }
    }
}

impl Registry {
    /// The registry at `url`, or where the settings say.
    ///
    /// # Errors
    /// Invalid where neither says where it is, or it cannot be spoken to as they say.
    pub(super) fn new(url: Option<&str>, access: &Access) -> Result<Registry, Error> {
        let nowhere = || {
            let advice = "write registry=http://HOST:PORT in the stream, or registry.url in [kafka]";
            Error::invalid(format!("nothing says where the schema registry is · {advice}"))
        };
        let place = url.or(access.url.as_deref()).ok_or_else(nowhere)?.trim_end_matches('/');
        let refused = |what: &str| Error::invalid(format!("the schema registry cannot be at `{place}`: {what} · write http://HOST:PORT, or https"));
        let parsed = Url::parse(place).map_err(|error| refused(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(refused("that is no address of HTTP"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            // The address is shown in messages.
            return Err(Error::invalid("the address of the schema registry holds a password · write registry.user and registry.password in [kafka]"));
        }
        let tls = TlsConfig::builder().root_certs(roots(access)?).build();
        let config = Agent::config_builder().http_status_as_error(false).timeout_connect(Some(CONNECT)).timeout_global(Some(ANSWER));
        let agent = config.tls_config(tls).user_agent("lockstep").build().into();
        Ok(Registry { agent, authorization: access.authorization(place), url: parsed })
    }

    /// Where it is, for messages.
    pub(super) fn place(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Whether it answers at all.
    pub(super) fn is_there(&self) -> Result<(), Failure> {
        self.get(&["subjects"]).map(drop)
    }

    /// The schema under an id.
    pub(super) fn schema(&self, id: u32) -> Result<Answer, Failure> {
        let body = match self.get(&["schemas", "ids", &id.to_string()])? {
            Ok(body) => body,
            Err(what) => return Ok(Answer::Nothing(format!("is not in the registry at {}: {what}", self.place()))),
        };
        if let Some(kind) = body.get("schemaType").and_then(Value::as_str).filter(|kind| *kind != "AVRO") {
            return Ok(Answer::Nothing(format!("is {kind}, not Avro")));
        }
        let mut references = References::default();
        if let Some(missing) = self.collect(&body, &mut references)? {
            return Ok(Answer::Nothing(missing));
        }
        Ok(Answer::Schema { text: self.text(&body)?, references: references.texts })
    }

    /// Collects the schemas that one refers to; what is missing, where anything is.
    fn collect(&self, body: &Value, references: &mut References) -> Result<Option<String>, Failure> {
        for reference in body.get("references").and_then(Value::as_array).into_iter().flatten() {
            let subject = reference.get("subject").and_then(Value::as_str).unwrap_or_default();
            let version = reference.get("version").and_then(Value::as_i64).unwrap_or_default().to_string();
            if !references.seen.insert((subject.to_owned(), version.clone())) {
                continue;
            }
            if references.seen.len() > REFERENCES_MAX {
                return Ok(Some(format!("refers to more than {REFERENCES_MAX} others")));
            }
            match self.get(&["subjects", subject, "versions", &version])? {
                Err(what) => return Ok(Some(format!("refers to version {version} of `{subject}`, which is not in the registry: {what}"))),
                Ok(inner) => {
                    if let Some(missing) = self.collect(&inner, references)? {
                        return Ok(Some(missing));
                    }
                    references.texts.push(self.text(&inner)?);
                }
            }
        }
        Ok(None)
    }

    fn text(&self, body: &Value) -> Result<String, Failure> {
        body.get("schema").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.no_registry("an answer has no `schema`"))
    }

    /// Asks for something; what the registry says where it has none.
    fn get(&self, path: &[&str]) -> Result<Result<Value, String>, Failure> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.agent.get(url.as_str()).header("Accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut response = request.call().map_err(|error| Failure::Away(error.to_string()))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(|error| Failure::Away(error.to_string()))?;
        let parsed: Option<Value> = serde_json::from_str(&body).ok();
        let told = |name: &str| parsed.as_ref().and_then(|body| body.get(name));
        let code = told("error_code").and_then(Value::as_i64).unwrap_or_default();
        match status {
            200 => Ok(Ok(parsed.ok_or_else(|| self.no_registry("an answer is not JSON"))?)),
            404 if (40_401..=NO_SCHEMA).contains(&code) => Ok(Err(told("message").and_then(Value::as_str).unwrap_or("not found").to_owned())),
            401 | 403 => {
                let advice = "give registry.user and registry.password, or registry.token, in [kafka]";
                Err(Failure::Wrong(Error::invalid(format!(
                    "the schema registry at {} does not let its schemas be read: {status} · {advice}",
                    self.place()
                ))))
            }
            408 | 425 | 429 | 500.. => Err(Failure::Away(format!("it answers {status}"))),
            other => Err(self.no_registry(&format!("it answers {other} to {}", url.path()))),
        }
    }

    fn no_registry(&self, what: &str) -> Failure {
        let place = self.place();
        Failure::Wrong(Error::invalid(format!(
            "what is at {place} is no schema registry: {what} · correct `registry` in the stream, or registry.url in [kafka]"
        )))
    }
}

/// The schemas that are referred to, and which have been asked for.
#[derive(Default)]
struct References {
    texts: Vec<String>,
    seen: BTreeSet<(String, String)>,
}

/// Whose certificates are believed.
fn roots(access: &Access) -> Result<RootCerts, Error> {
    let Some(path) = &access.ca else { return Ok(RootCerts::PlatformVerifier) };
    let refused = |error: &dyn fmt::Display| Error::invalid(format!("[kafka] `registry.ca` is {}, which cannot be used: {error}", path.display()));
    let pem = std::fs::read(path).map_err(|error| refused(&error))?;
    let certificate = Certificate::from_pem(&pem).map_err(|error| refused(&error))?;
    Ok(RootCerts::new_with_certs(&[certificate]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(properties: &[(&str, &str)]) -> Access {
        let mut access = Access::default();
        properties.iter().for_each(|(name, value)| assert!(access.set(name, value), "{name}"));
        access
    }

    #[test]
    fn who_asks_is_told_to_the_registry_of_the_settings_alone() {
        let elsewhere = access(&[("registry.url", "http://ours:1/"), ("registry.user", "u"), ("registry.password", "p")]);
        assert_eq!(elsewhere.authorization("http://ours:1").as_deref(), Some("Basic dTpw"));
        assert_eq!(elsewhere.authorization("http://theirs:1"), None);
        let any = access(&[("registry.token", "t")]);
        assert_eq!(any.authorization("http://theirs:1").as_deref(), Some("Bearer t"));
        assert!(!Access::default().set("registry.usr", "u"));
    }

    #[test]
    fn an_address_is_one_of_http_without_a_password() {
        let wrong = |url: &str| Registry::new(Some(url), &Access::default()).unwrap_err().to_string();
        assert!(Registry::new(None, &Access::default()).unwrap_err().to_string().contains("registry=http://HOST:PORT"));
        assert!(wrong("ftp://x").contains("no address of HTTP"));
        let secret = wrong("http://u:hunter2@x");
        assert!(secret.contains("holds a password") && !secret.contains("hunter2"), "{secret}");
    }
}
