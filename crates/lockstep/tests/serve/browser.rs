//! A browser without a window: Chromium, driven over WebDriver, which is JSON over HTTP.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::agent;

/// How long something on a page may take to be so.
const WITHIN: Duration = Duration::from_secs(30);

/// The key that WebDriver calls this.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";

/// A browser, which ends when this is dropped.
pub struct Browser {
    driver: Child,
    session: String,
}

impl Browser {
    /// Starts one; `None`, in one line, where there is none, unless it is required.
    pub fn start() -> Option<Browser> {
        let spawned = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match spawned {
            Ok(driver) => driver,
            Err(error) if std::env::var_os("LOCKSTEP_REQUIRE_BROWSER").is_none() => {
                println!("left out: chromedriver does not start: {error}; Debian's chromium-driver has it");
                return None;
            }
            Err(error) => panic!("chromedriver: {error}"),
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let port = line.split("started successfully on port ").nth(1)?;
            Some(port.trim_end_matches('.').to_owned())
        });
        // It must not wait for who reads what it says.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let mut browser = Browser { driver, session: format!("http://127.0.0.1:{}", port.expect("a port")) };
        // Inside a container there is neither a sandbox nor much shared memory.
        let args = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,900", "--no-first-run"];
        let wanted = json!({"goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"}});
        let begun = browser.post("/session", &json!({"capabilities": {"alwaysMatch": wanted}}));
        browser.session = format!("{}/session/{}", browser.session, begun["sessionId"].as_str().expect("a session"));
        Some(browser)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let mut answered =
            agent().post(format!("{}{path}", self.session)).header("content-type", "application/json").send(body.to_string()).expect("a driver");
        let said: Value = serde_json::from_str(&answered.body_mut().read_to_string().unwrap()).unwrap();
        assert!(answered.status().is_success(), "{path}: {said}");
        said["value"].clone()
    }

    /// Goes to an address.
    pub fn go(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// What an expression of JavaScript comes to.
    pub fn value(&self, expression: &str) -> Value {
        self.post("/execute/sync", &json!({"script": format!("return {expression}"), "args": []}))
    }

    /// Waits until an expression is true.
    #[allow(clippy::disallowed_methods, reason = "compared with a deadline")]
    pub fn wait(&self, expression: &str) {
        let begun = Instant::now();
        while self.value(&format!("Boolean({expression})")) != true {
            let page = || self.value("document.body.innerText");
            assert!(begun.elapsed() < WITHIN, "never so: {expression}\n{}", page().as_str().unwrap_or_default());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses keys, one after the other, as somebody without a mouse does.
    pub fn press(&self, keys: &str) {
        let strokes: Vec<Value> =
            keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))).collect();
        self.post("/actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]}));
    }

    /// Presses Tab until what has the focus is so.
    pub fn tab_to(&self, expression: &str) {
        for _ in 0..80 {
            if self.value(&format!("(e => Boolean({expression}))(document.activeElement)")) == true {
                return;
            }
            self.press(TAB);
        }
        panic!("Tab never comes to where {expression}");
    }

    /// Whether a page that can is to be dark.
    pub fn dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        // Nothing is to be on its way from one colour to the other while it is looked at.
        let features =
            [("prefers-color-scheme", value), ("prefers-reduced-motion", "reduce")].map(|(name, value)| json!({"name": name, "value": value}));
        let parameters = json!({"features": features});
        self.post("/goog/cdp/execute", &json!({"cmd": "Emulation.setEmulatedMedia", "params": parameters}));
    }

    /// What the console says of what is wrong.
    pub fn complaints(&self) -> Vec<String> {
        let said = self.post("/se/log", &json!({"type": "browser"}));
        let entries = said.as_array().cloned().unwrap_or_default();
        entries.iter().filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    /// Elements with text of their own whose colour is too near to that of their ground.
    pub fn faint(&self) -> Value {
        self.value(FAINT)
    }

    /// A picture of the page as PNG, in base 64.
    pub fn picture(&self) -> String {
        let mut answered = agent().get(format!("{}/screenshot", self.session)).call().expect("a driver");
        let said: Value = serde_json::from_str(&answered.body_mut().read_to_string().unwrap()).unwrap();
        said["value"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = agent().delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// See [`Browser::faint`].
const FAINT: &str = "(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (of) => {
    const [r, g, b] = of.slice(0, 3).map((part) => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== '');
  return [...document.querySelectorAll('body *')].filter((element) => own(element) && element.getClientRects().length > 0).flatMap((element) => {
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return ratio < 4.5 ? [`${element.tagName} ${element.textContent.slice(0, 40)} ${ratio.toFixed(2)}`] : [];
  });
})()";
