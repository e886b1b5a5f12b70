//! A week of lending, twice: once a model that is trained every night on what came of its own approvals, and once the same with a tenth of all applications left to chance.
//!
//! Both begin with a model that is wrong about bands 6 and 7, which it takes for risky. Whoever is declined never pays back or fails to, so that nothing ever tells the first one. All of it goes through
//! `lockstep serve` and `lockstep train`: what is simulated is who applies, and who pays back.
//!
//!     cargo run --release --example loop -- target/release/lockstep

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type};
use lockstep_client::proto::DescribeDeploymentRequest;
use lockstep_client::{Client, Outcome, Rows};
use lockstep_testkit::onnx::{Stump, stumps};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use sha2::{Digest, Sha256};

const BANDS: usize = 10;
/// How many of a hundred loans of a band are not paid back.
const TRUTH: [u64; BANDS] = [2, 3, 5, 8, 10, 12, 15, 18, 60, 75];
/// What the first model takes for the risk of a band.
const FIRST: [f64; BANDS] = [0.02, 0.03, 0.05, 0.08, 0.10, 0.12, 0.55, 0.60, 0.65, 0.75];
const DAYS: usize = 7;
const A_DAY: usize = 1000;
/// What a loan brings that is paid back, and what one costs that is not.
const GAIN: i64 = 1;
const LOSS: i64 = 2;

/// Noon of the first day: 2024-03-01, and the length of a day, µs.
const FIRST_DAY: i64 = 1_709_294_400_000_000;
const DAY: i64 = 86_400_000_000;

const PROJECT: [(&str, &str); 2] = [("lockstep.toml", include_str!("lockstep.toml")), ("feature_defs/loop.sql", include_str!("definitions.sql"))];
const APPLICATIONS: &str = "id,band,amount,at\n1,0,100,2024-02-28T12:00:00Z\n2,7,250,2024-02-29T12:00:00Z\n";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One of the two: the service it is trained on, its deployment, and what it believes.
#[derive(Debug)]
pub struct Side {
    service: &'static str,
    deployment: &'static str,
    /// Its risk of each band.
    pub risks: [f64; BANDS],
    /// Loans given and what they brought, day by day.
    pub days: Vec<(usize, i64)>,
    /// What `lockstep train` said last.
    pub report: Value,
}

fn main() -> Result<()> {
    let lockstep = std::env::args().nth(1).ok_or("loop PATH-OF-LOCKSTEP")?;
    let dir = std::env::temp_dir().join(format!("lockstep-loop-{}", std::process::id()));
    let told = run(&fs::canonicalize(lockstep)?, &dir).map(|sides| print(&sides));
    fs::remove_dir_all(&dir)?;
    told
}

/// Plays the week in a directory, by the program at a path.
pub fn run(lockstep: &Path, dir: &Path) -> Result<[Side; 2]> {
    let project = Project { lockstep: lockstep.to_owned(), dir: dir.to_owned() };
    let side = |service, deployment| Side { service, deployment, risks: FIRST, days: Vec::new(), report: Value::Null };
    let mut sides = [side("closed", "lend_closed"), side("open", "lend_open")];
    project.write(&sides)?;
    for verb in ["apply", "backfill"] {
        project.ask(&[verb])?;
    }
    let server = Server::start(&project)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = runtime.block_on(Client::connect(&server.url))?;
    for day in 0..DAYS {
        for side in &mut sides {
            runtime.block_on(side.lend(&client, day))?;
            side.learn(&project)?;
        }
        project.write_models(&sides)?;
        project.ask(&["apply"])?;
        server.wait_for_next(&runtime, &client, &sides)?;
    }
    Ok(sides)
}

impl Side {
    fn request(&self, day: usize) -> String {
        format!("{}-{day}", self.service)
    }

    /// A day of applications: those that are approved are paid back or not, and the others are never heard of again.
    async fn lend(&mut self, client: &Client, day: usize) -> Result<()> {
        let bands: Vec<i64> = (0..A_DAY).map(|row| (row % BANDS) as i64).collect();
        let moment = FIRST_DAY + day as i64 * DAY;
        let scores = client.score(Rows::of(self.deployment).column("band", bands).as_of(moment).id(self.request(day))).await?;
        let decisions = scores.decisions();
        let (mut outcomes, mut gain) = (Vec::new(), 0);
        for decision in decisions.iter().filter(|decision| decision.action == "approve") {
            let failed = fails(day, decision.row as usize);
            gain += if failed { -LOSS } else { GAIN };
            outcomes.push(Outcome::of(self.request(day), decision.row, moment + DAY / 2).value("failed", [failed]));
        }
        self.days.push((outcomes.len(), gain));
        client.report_decisions(decisions).await?;
        client.report_outcomes(outcomes).await?;
        Ok(())
    }

    /// Trains on all that is known: the risk of a band is the share of its loans that failed, each weighed as `lockstep train` says. Of a band without a loan nothing is learned.
    fn learn(&mut self, project: &Project) -> Result<()> {
        let out = format!("set-{}", self.service);
        let rows = (self.days.len() * A_DAY) as u64;
        self.report = project.train(self.service, &out, rows)?;
        let mut failed = [(0.0, 0.0); BANDS];
        let file = File::open(project.dir.join(&out).join("part-00000.parquet"))?;
        for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
            let batch = batch?;
            let column = |name: &str| batch.column_by_name(name).ok_or(format!("no column {name}"));
            let (bands, labels) = (column("band")?.as_primitive::<Int64Type>(), column("failed")?.as_boolean());
            let weights = column("sample_weight")?.as_primitive::<Float64Type>();
            for row in (0..batch.num_rows()).filter(|&row| labels.is_valid(row)) {
                let (weight, of) = (weights.value(row), &mut failed[bands.value(row) as usize]);
                *of = (of.0 + if labels.value(row) { weight } else { 0.0 }, of.1 + weight);
            }
        }
        for (risk, (failed, all)) in self.risks.iter_mut().zip(failed) {
            if all > 0.0 {
                *risk = failed / all;
            }
        }
        Ok(())
    }

    /// Its risks as a model: a step at each band.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "what a model's file holds")]
    fn model(&self) -> Vec<u8> {
        let before = [0.0].into_iter().chain(self.risks);
        let steps = before.zip(self.risks).enumerate();
        let step = |(band, (before, risk)): (usize, (f64, f64))| Stump { feature: 0, at: band as f32 - 0.5, leaves: [0.0, (risk - before) as f32] };
        stumps(1, &steps.map(step).collect::<Vec<_>>())
    }
}

/// Whether an applicant's loan is not paid back, given one: drawn once for both sides, and the same in every run.
fn fails(day: usize, row: usize) -> bool {
    let mut drawn = (day * A_DAY + row) as u64;
    for _ in 0..4 {
        drawn = (drawn ^ (drawn >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x632b_e59b_d9b4_e019);
    }
    (drawn >> 33) % 100 < TRUTH[row % BANDS]
}

/// A project in a directory.
struct Project {
    lockstep: PathBuf,
    dir: PathBuf,
}

impl Project {
    fn write(&self, sides: &[Side]) -> Result<()> {
        for dir in ["feature_defs", "models"] {
            fs::create_dir_all(self.dir.join(dir))?;
        }
        for (path, text) in PROJECT {
            fs::write(self.dir.join(path), text)?;
        }
        fs::write(self.dir.join("applications.csv"), APPLICATIONS)?;
        self.write_models(sides)
    }

    fn write_models(&self, sides: &[Side]) -> Result<()> {
        sides.iter().try_for_each(|side| Ok(fs::write(self.dir.join(format!("models/{}.onnx", side.service)), side.model())?))
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let ended = Command::new(&self.lockstep).args(arguments).current_dir(&self.dir).output()?;
        if !ended.status.success() {
            return Err(format!("lockstep {}: {}", arguments.join(" "), String::from_utf8_lossy(&ended.stderr)).into());
        }
        Ok(String::from_utf8(ended.stdout)?)
    }

    /// Makes a training set of the log, once it has so many rows: they wait for their file for a moment.
    fn train(&self, service: &str, out: &str, rows: u64) -> Result<Value> {
        for _ in 0..100 {
            let weigh = ["--propensity", "propensity", "--weight-max", "100"];
            let told = self.ask(&[&["train", service, "--from-log", "--out", out, "--replace", "--json"][..], &weigh].concat());
            let report: Value = told.ok().map(|told| serde_json::from_str::<Value>(&told)).transpose()?.unwrap_or_default()["report"].take();
            if report["rows"] == rows {
                return Ok(report);
            }
            sleep(Duration::from_millis(100));
        }
        Err(format!("the log of {service} has no {rows} rows").into())
    }
}

/// A server, which ends when this is dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(project: &Project) -> Result<Server> {
        let mut command = Command::new(&project.lockstep);
        let mut child = command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(&project.dir).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
        let mut server = Server { child, url: String::new() };
        for line in &mut lines {
            let line = line?;
            if let Some(at) = line.strip_prefix("listening on ").and_then(|rest| rest.split(": ").next()) {
                server.url = format!("http://{at}");
            }
            if line.starts_with("ready") {
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(server);
            }
        }
        Err("the server did not become ready".into())
    }

    /// Waits until it scores by the models that were applied: it looks every second.
    fn wait_for_next(&self, runtime: &tokio::runtime::Runtime, client: &Client, sides: &[Side]) -> Result<()> {
        let hash = |side: &Side| Sha256::digest(side.model()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let wanted: Vec<String> = sides.iter().map(hash).collect();
        for _ in 0..300 {
            let mut found = Vec::new();
            for side in sides {
                let request = DescribeDeploymentRequest { name: side.deployment.to_owned() };
                let described = runtime.block_on(client.raw_scoring().describe_deployment(request))?.into_inner();
                found.extend(described.models.into_iter().map(|model| model.sha256));
            }
            if found == wanted {
                return Ok(());
            }
            sleep(Duration::from_millis(100));
        }
        Err("the server does not take up the models of the night".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells what came of it.
pub fn print([closed, open]: &[Side; 2]) {
    println!("            alone              exploring a tenth");
    println!("  day   loans    gain          loans    gain");
    for (day, ((closed_loans, closed), (open_loans, open))) in closed.days.iter().zip(&open.days).enumerate() {
        println!("  {:>3}   {closed_loans:>5}   {closed:>5}          {open_loans:>5}   {open:>5}", day + 1);
    }
    println!("\n  risk of a band, as each believes it by now, and as it is");
    println!("  band  alone  exploring  truth");
    for (band, truth) in TRUTH.iter().enumerate() {
        println!("  {band:>4}   {:.2}       {:.2}   {:.2}", closed.risks[band], open.risks[band], *truth as f64 / 100.0);
    }
    for side in [closed, open] {
        let decisions = &side.report["served"]["decisions"];
        println!(
            "\n  {}: {:.1}% of labels were decided by the model itself",
            side.service,
            100.0 * decisions["model_share"].as_f64().unwrap_or_default()
        );
        for warning in side.report["warnings"].as_array().into_iter().flatten() {
            println!("  warning: {}", warning.as_str().unwrap_or_default());
        }
    }
}
