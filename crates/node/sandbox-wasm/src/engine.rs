//! The engine of the process: its settings, its pool, and what components are linked with.

use crate::{Component, Error, artifact, state::State, ticker::Ticker};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::Arc,
    time::Duration,
};
use types::Bytes;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
    component::{Component as Code, InstancePre, Linker},
};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// What the pool is made for. None of it is part of a compiled artifact.
#[derive(Debug, Clone)]
pub struct Options {
    /// Calls at once in this process; each reserves 4 GiB of address space (not of memory), so at most some 18,000.
    pub max_instances: u32,
    /// The most memory that one instance may ask for, whatever its limit.
    pub memory_max: Bytes,
    /// How long guest code runs before it gives its thread back, and how exact a deadline is.
    pub tick: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_instances: 1000, memory_max: Bytes::mib(4096), tick: Duration::from_millis(1) }
    }
}

/// The WebAssembly engine of this process: compiles and loads components. Clones share everything.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) ticker: Ticker,
    linker: Linker<State>,
    key: String,
}

impl Engine {
    /// Reserves the pool and starts the ticker's thread.
    ///
    /// # Errors
    /// [`Error::Engine`] where the address space does not suffice or the thread cannot be started.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let failed = |error: wasmtime::Error| Error::Engine(format!("{error:#}"));
        let mut config = config();
        let key = key(&config).map_err(failed)?;
        // By itself wasmtime takes artifacts of the same major version; but a patch release may mend the compiler.
        config.module_version(ModuleVersionStrategy::Custom(key.clone())).map_err(failed)?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
        let wasmtime = wasmtime::Engine::new(&config).map_err(failed)?;
        let linker = crate::state::linker(&wasmtime).map_err(failed)?;
        let ticker = Ticker::start(wasmtime.weak(), options.tick).map_err(|error| Error::Engine(error.to_string()))?;
        Ok(Self { inner: Arc::new(Inner { wasmtime, ticker, linker, key }) })
    }

    /// Checks and compiles a component for [`Self::load`]. Takes about a CPU-second for each MB of code, on all cores,
    /// and no state of this process: it may as well run in a child.
    ///
    /// # Errors
    /// Those that say what is wrong with the component.
    pub fn compile(wasm: &[u8]) -> Result<Vec<u8>, Error> {
        check_kind(wasm)?;
        // A pool of one: the component has to fit into an instance, not only to compile.
        let engine = Self::new(&Options { max_instances: 1, ..Options::default() })?;
        let code =
            Code::from_binary(&engine.inner.wasmtime, wasm).map_err(|error| Error::Compile(format!("{error:#}")))?;
        engine.link(&code)?;
        code.serialize().map_err(|error| Error::Compile(format!("{error:#}")))
    }

    /// A short text that changes whenever artifacts of another engine cannot be loaded: a part of their files' names.
    pub fn settings_key(&self) -> String {
        self.inner.key.clone()
    }

    /// Maps an artifact; never compiles.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Stale`]; others cannot come from a component that [`Self::compile`] let through.
    pub fn load(&self, artifact: &Path) -> Result<Component, Error> {
        let code = artifact::load(&self.inner.wasmtime, artifact)?;
        Ok(Component::new(self.clone(), self.link(&code)?))
    }

    /// Calls whose guest has not ended.
    pub fn in_flight(&self) -> usize {
        self.inner.ticker.in_flight()
    }

    /// Resolves imports and exports, so that a call only has to instantiate.
    fn link(&self, code: &Code) -> Result<ProxyPre<State>, Error> {
        let linked: InstancePre<State> =
            self.inner.linker.instantiate_pre(code).map_err(|error| Error::MissingImport(format!("{error:#}")))?;
        ProxyPre::new(linked).map_err(|_| Error::NoHandler(exports(&self.inner.wasmtime, code)))
    }
}

/// The two kinds of binary that are mistaken for a component most often.
fn check_kind(wasm: &[u8]) -> Result<(), Error> {
    match wasm.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => Ok(()),
        Some(b"\0asm\x01\0\0\0") => {
            Err(Error::NotComponent("it is a core module; build it for the target wasm32-wasip2".into()))
        }
        _ => Err(Error::NotComponent("it does not begin with the bytes of a WebAssembly binary".into())),
    }
}

fn exports(engine: &wasmtime::Engine, code: &Code) -> String {
    let names: Vec<String> = code.component_type().exports(engine).map(|(name, _)| name.to_owned()).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

/// wasmtime's version to the patch, the settings that code depends on, and the processor's features.
fn key(config: &Config) -> wasmtime::Result<String> {
    let mut hasher = DefaultHasher::new();
    wasmtime::Engine::new(config)?.precompile_compatibility_hash().hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // WASI 0.2 needs none of the component model's own concurrency, and a store is lighter without it.
        .concurrency_support(false)
        // Nobody unwinds through guest code but wasmtime, which has its own tables; loading is quicker without.
        .native_unwind_info(false)
        // Backtraces show function names; offsets would only help with the debug information that nobody deploys.
        .generate_address_map(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

fn pool(options: &Options) -> PoolingAllocationConfig {
    let max = options.max_instances;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(max)
        // A component brings some small core instances for its adapters beside its own.
        .total_core_instances(max.saturating_mul(16))
        .total_memories(max)
        .total_tables(max.saturating_mul(4))
        .total_stacks(max)
        .max_memory_size(usize::try_from(options.memory_max.0).unwrap_or(usize::MAX))
        // Compiled JavaScript engines have tables of 30,000 functions.
        .table_elements(100_000)
        // What an instance dirtied is wiped by hand up to this size, which spares the next one its page faults;
        // the kernel (6.7 and later) tells which pages those are. Measured: 20.5 -> 10.7 us a call.
        .linear_memory_keep_resident(128 << 10)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_no_component_is_said_so() {
        let cases: [(&[u8], &str); 4] = [
            (b"\0asm\x01\0\0\0", "core module"),
            (b"", "does not begin"),
            (b"\x7fELF....", "does not begin"),
            (b"\0asm\x0d\0\x01\0\xff\xff", "does not compile"),
        ];
        for (bytes, told) in cases {
            let error = Engine::compile(bytes).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn options_do_not_change_the_key() {
        let small =
            Engine::new(&Options { max_instances: 1, memory_max: Bytes::mib(1), ..Options::default() }).unwrap();
        let large = Engine::new(&Options::default()).unwrap();
        assert_eq!(small.settings_key(), large.settings_key());
        assert_eq!(small.settings_key().len(), 16);
    }
}
