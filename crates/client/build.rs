//! Compiles the gRPC definitions, without `protoc`.

use std::error::Error;
use std::path::Path;

use prost::Message;

const INCLUDE: &str = "../../proto";
const FILES: [&str; 3] = ["lockstep/v1/admin.proto", "lockstep/v1/features.proto", "lockstep/v1/scoring.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={INCLUDE}");
    let definitions = protox::compile(FILES, [INCLUDE])?;
    // For reflection, and for whoever generates stubs of another language.
    let descriptors = Path::new(&std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(descriptors, definitions.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".lockstep.v1.Binaries").compile_fds(definitions)?;
    Ok(())
}
