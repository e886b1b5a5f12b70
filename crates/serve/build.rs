//! Compiles the gRPC definitions, without `protoc`.

use std::error::Error;

const INCLUDE: &str = "../../proto";
const FILES: [&str; 1] = ["lockstep/v1/admin.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={INCLUDE}");
    let definitions = protox::compile(FILES, [INCLUDE])?;
    tonic_prost_build::configure().compile_fds(definitions)?;
    Ok(())
}
