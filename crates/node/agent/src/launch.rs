//! How a revision is started: program, arguments, environment, and the way to it. A pure decision on plain data.

use crate::address::Address;
use std::path::{Path, PathBuf};
use types::{Code, Contract, Fault, InstanceId, Revision, Runtime};

/// Where an instance's things are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The unpacked artifact: read-only, the working folder.
    pub(crate) task: PathBuf,
    /// Writable, its own, gone with it.
    pub(crate) tmp: PathBuf,
    pub(crate) socket: PathBuf,
    /// A port that was free a moment ago.
    pub(crate) port: u16,
    /// Where the platform's bootstraps are.
    pub(crate) bootstraps: PathBuf,
}

/// How calls reach the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Our bootstrap listens on the socket.
    Bootstrap,
    /// An official client polls the Runtime API on the port.
    RuntimeApi,
    /// A server on the socket or on the port.
    Server([Address; 2]),
    /// The guest starts a process for each call.
    Command,
}

#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) way: Way,
}

/// Looks programs up: the interpreter of a runtime, and a bare name in the system's folders.
pub(crate) trait Programs {
    /// # Errors
    /// `runtime_unavailable`.
    fn interpreter(&self, runtime: Runtime) -> Result<PathBuf, Fault>;
    fn in_path(&self, name: &str) -> Option<PathBuf>;
}

/// Where bare names are looked for.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// # Errors
/// `runtime_unavailable` where the host lacks the program, `start_failed` where the revision names none.
pub(crate) fn launch(
    revision: &Revision,
    id: InstanceId,
    places: &Places,
    programs: &dyn Programs,
) -> Result<Launch, Fault> {
    let way = way(revision, places);
    let (program, args) = match revision.spec.command.split_first() {
        Some((program, args)) => (resolve(program, revision, places, programs)?, args.to_vec()),
        None => default_command(revision, &way, places, programs)?,
    };
    let env = environment(revision, id, places, &program, &way);
    Ok(Launch { program, args, env, way })
}

fn way(revision: &Revision, places: &Places) -> Way {
    let spec = &revision.spec;
    let ours = spec.command.is_empty() && matches!(spec.runtime, Runtime::Nodejs | Runtime::Python);
    match spec.contract {
        Contract::Handler if ours => Way::Bootstrap,
        Contract::Handler => Way::RuntimeApi,
        Contract::Command => Way::Command,
        Contract::Http | Contract::Component => {
            Way::Server([Address::Unix(places.socket.clone()), Address::Port(places.port)])
        }
    }
}

/// A program of a `command`: the runtime's interpreter by its usual name, a path in the artifact, a bare name in `PATH`.
fn resolve(program: &str, revision: &Revision, places: &Places, programs: &dyn Programs) -> Result<PathBuf, Fault> {
    let runtime = revision.spec.runtime;
    let interpreter = match runtime {
        Runtime::Nodejs => &["node"][..],
        Runtime::Python => &["python", "python3"],
        Runtime::Java => &["java"],
        Runtime::Go | Runtime::Rust | Runtime::Binary | Runtime::Wasm => &[],
    };
    if interpreter.contains(&program) {
        return programs.interpreter(runtime);
    }
    if program.starts_with('/') {
        return Ok(program.into());
    }
    let own = places.task.join(program);
    if program.contains('/') || own.is_file() {
        return Ok(own);
    }
    programs.in_path(program).ok_or_else(|| {
        Fault::new(Code::StartFailed, format!("`{program}` is neither in the function's folder nor in {PATH}"))
    })
}

type Command = (PathBuf, Vec<String>);

fn default_command(revision: &Revision, way: &Way, places: &Places, programs: &dyn Programs) -> Result<Command, Fault> {
    let spec = &revision.spec;
    let entry = spec.entry.as_deref();
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let named = || entry.ok_or_else(|| Fault::new(Code::StartFailed, "the manifest names no `entry` and no `command`"));
    Ok(match (spec.runtime, way) {
        (Runtime::Nodejs, Way::Bootstrap) => {
            (programs.interpreter(spec.runtime)?, vec![text(places.bootstraps.join("node.mjs"))])
        }
        (Runtime::Python, Way::Bootstrap) => {
            (programs.interpreter(spec.runtime)?, vec![text(places.bootstraps.join("python.py"))])
        }
        (Runtime::Nodejs | Runtime::Python, _) => (programs.interpreter(spec.runtime)?, vec![named()?.to_owned()]),
        (Runtime::Java, _) => (programs.interpreter(spec.runtime)?, java(named()?, way, places, spec.memory)),
        (Runtime::Go | Runtime::Rust, _) => (places.task.join(entry.unwrap_or("bootstrap")), Vec::new()),
        (Runtime::Binary | Runtime::Wasm, _) => (places.task.join(named()?), Vec::new()),
    })
}

/// A handler by the Runtime Interface Client, a server by its jar or main class.
fn java(entry: &str, way: &Way, places: &Places, memory: types::Bytes) -> Vec<String> {
    let class_path = "target/classes:target/dependency/*:target/*";
    // The JVM would size its heap by the host's memory; what is left is for its code, stacks and buffers.
    let heap = format!("-Xmx{}k", (memory.0 >> 10) * 7 / 10);
    let mut args: Vec<String> =
        ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", &heap].map(str::to_owned).to_vec();
    // By itself the client unpacks its library to one place for all users of the host.
    let library = places.task.join(format!("target/jni/libaws-lambda-jni.linux-{}.so", jni_architecture()));
    if library.is_file() {
        args.push(format!("-D{JNI_PROPERTY}={}", library.display()));
    }
    match way {
        Way::RuntimeApi => args.extend(
            ["-cp", class_path, "com.amazonaws.services.lambda.runtime.api.client.AWSLambda", entry].map(str::to_owned),
        ),
        _ if entry.ends_with(".jar") => args.extend(["-jar".to_owned(), entry.to_owned()]),
        _ => args.extend(["-cp", class_path, entry].map(str::to_owned)),
    }
    args
}

const JNI_PROPERTY: &str = "com.amazonaws.services.lambda.runtime.api.client.runtimeapi.NativeClient.JNI";

const fn jni_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "aarch_64" } else { "x86_64" }
}

/// The whole environment, from scratch: the user's own variables, then what the contract promises.
fn environment(
    revision: &Revision,
    id: InstanceId,
    places: &Places,
    program: &Path,
    way: &Way,
) -> Vec<(String, String)> {
    let spec = &revision.spec;
    let (function, number) = (revision.id.function.to_string(), revision.id.number.to_string());
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let folder = program.parent().filter(|folder| !folder.starts_with(&places.task)).map(text).unwrap_or_default();
    let path = if PATH.split(':').any(|known| known == folder) || folder.is_empty() {
        PATH.to_owned()
    } else {
        format!("{folder}:{PATH}")
    };
    let mut env: Vec<(String, String)> = Vec::with_capacity(32);
    let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
    for (name, value) in &spec.env {
        set(name, value.clone());
    }
    if !spec.env.contains_key("PATH") {
        set("PATH", path);
    }
    for name in ["HOME", "TMPDIR"] {
        if !spec.env.contains_key(name) {
            set(name, text(&places.tmp));
        }
    }
    if !spec.env.contains_key("LANG") {
        set("LANG", "C.UTF-8".into());
    }
    set("MAYFLY_FUNCTION", function.clone());
    set("MAYFLY_REVISION", number.clone());
    set("MAYFLY_INSTANCE", id.to_string());
    set("MAYFLY_CONCURRENCY", spec.concurrency.to_string());
    match way {
        Way::Server(_) => {
            set("PORT", places.port.to_string());
            set("MAYFLY_SOCKET", text(&places.socket));
            // Source: the Knative and Cloud Run container contract.
            set("K_SERVICE", function.clone());
            set("K_CONFIGURATION", function.clone());
            set("K_REVISION", format!("{function}-{number}"));
        }
        Way::Bootstrap => set("MAYFLY_SOCKET", text(&places.socket)),
        Way::RuntimeApi => set("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{}", places.port)),
        Way::Command => {}
    }
    if matches!(way, Way::Bootstrap | Way::RuntimeApi) {
        lambda(&mut set, revision, id, places);
    }
    if spec.runtime == Runtime::Python {
        set("PYTHONUNBUFFERED", "1".into());
        // The artifact is read-only; caches of bytecode would fail one by one.
        set("PYTHONDONTWRITEBYTECODE", "1".into());
        if !spec.env.contains_key("PYTHONPATH") {
            set("PYTHONPATH", text(&places.task.join(".mayfly/python")));
        }
    }
    env
}

/// Source: "Defined runtime environment variables" of Lambda.
fn lambda(set: &mut impl FnMut(&str, String), revision: &Revision, id: InstanceId, places: &Places) {
    let task = places.task.to_string_lossy().into_owned();
    set("_HANDLER", revision.spec.entry.clone().unwrap_or_default());
    set("LAMBDA_TASK_ROOT", task.clone());
    set("LAMBDA_RUNTIME_DIR", task);
    set("AWS_LAMBDA_FUNCTION_NAME", revision.id.function.to_string());
    set("AWS_LAMBDA_FUNCTION_VERSION", revision.id.number.to_string());
    set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", (revision.spec.memory.0 >> 20).to_string());
    set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".into());
    set("AWS_LAMBDA_LOG_GROUP_NAME", format!("/mayfly/{}", revision.id.function));
    set("AWS_LAMBDA_LOG_STREAM_NAME", format!("{}/{id}", revision.id));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use types::{Digest, Manifest, RevisionId, Timestamp};

    struct Fake;
    impl Programs for Fake {
        fn interpreter(&self, runtime: Runtime) -> Result<PathBuf, Fault> {
            Ok(format!("/opt/{runtime}/bin/{runtime}").into())
        }
        fn in_path(&self, name: &str) -> Option<PathBuf> {
            (name == "sh").then(|| "/bin/sh".into())
        }
    }

    fn start(manifest: &str) -> Result<Launch, Fault> {
        let manifest = Manifest::parse(&format!("name = 'hello'\n{manifest}")).unwrap();
        let revision = Revision {
            id: RevisionId { function: manifest.name.clone(), number: 3 },
            content: Digest::from_sha256(&[0; 32]),
            artifact: Digest::from_sha256(&[0; 32]),
            spec: manifest.spec(),
            created: Timestamp(0),
        };
        let places = Places {
            task: "/task".into(),
            tmp: "/i/tmp".into(),
            socket: "/i/s".into(),
            port: 4242,
            bootstraps: "/b".into(),
        };
        launch(&revision, InstanceId::default(), &places, &Fake)
    }

    #[test]
    fn each_runtime_has_its_command() {
        for (manifest, want) in [
            ("runtime='nodejs'\nentry='index.handler'", "/opt/nodejs/bin/nodejs /b/node.mjs"),
            ("runtime='python'\nentry='app.handler'", "/opt/python/bin/python /b/python.py"),
            (
                "runtime='python'\ncommand=['python3','-m','awslambdaric','app.handler']",
                "/opt/python/bin/python -m awslambdaric app.handler",
            ),
            ("runtime='nodejs'\ncontract='http'\nentry='server.js'", "/opt/nodejs/bin/nodejs server.js"),
            ("runtime='go'", "/task/bootstrap"),
            ("runtime='rust'\ncontract='http'", "/task/bootstrap"),
            ("runtime='binary'\nentry='bin/app'", "/task/bin/app"),
            ("runtime='binary'\ncontract='command'\ncommand=['sh','x.sh']", "/bin/sh x.sh"),
            ("runtime='binary'\ncontract='command'\ncommand=['./x','1']", "/task/./x 1"),
            (
                "runtime='java'\ncontract='http'\nentry='app.jar'",
                "/opt/java/bin/java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Xmx183500k -jar app.jar",
            ),
        ] {
            let launch = start(manifest).unwrap();
            let words: Vec<_> =
                std::iter::once(launch.program.to_string_lossy().into_owned()).chain(launch.args).collect();
            assert_eq!(words.join(" "), want, "{manifest}");
        }
        assert_eq!(start("runtime='binary'\ncommand=['nope']").unwrap_err().code, Code::StartFailed);
    }

    #[test]
    fn the_environment_is_what_the_contract_promises() {
        let env = |manifest: &str| {
            let launch = start(manifest).unwrap();
            move |name: &str| launch.env.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
        };
        let node = env("runtime='nodejs'\nentry='index.handler'\n[env]\nSTAGE='dev'\nPATH='/x'");
        for (name, want) in [
            ("STAGE", Some("dev")),
            ("PATH", Some("/x")),
            ("_HANDLER", Some("index.handler")),
            ("AWS_LAMBDA_FUNCTION_VERSION", Some("3")),
            ("MAYFLY_SOCKET", Some("/i/s")),
            ("AWS_LAMBDA_RUNTIME_API", None),
            ("PORT", None),
            ("HOME", Some("/i/tmp")),
        ] {
            assert_eq!(node(name).as_deref(), want, "{name}");
        }
        let go = env("runtime='go'");
        assert_eq!(go("AWS_LAMBDA_RUNTIME_API").as_deref(), Some("127.0.0.1:4242"));
        let web = env("runtime='nodejs'\ncontract='http'\nentry='s.js'");
        assert_eq!((web("PORT").as_deref(), web("K_REVISION").as_deref()), (Some("4242"), Some("hello-3")));
    }
}
