//! `mayfly compile IN OUT`: a component to native code, in a process that may die of it.

use crate::cli::args::CompileArgs;
use std::{fs, process::ExitCode};

/// Prints why not, for whoever started it.
pub fn compile(args: &CompileArgs) -> ExitCode {
    let compiled = fs::read(&args.input)
        .map_err(|error| format!("cannot read the component: {error}"))
        .and_then(|wasm| sandbox_wasm::Engine::compile(&wasm).map_err(|error| error.to_string()))
        .and_then(|code| {
            fs::write(&args.output, code).map_err(|error| format!("cannot write the compiled component: {error}"))
        });
    match compiled {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
