//! The command line as types: every verb, argument and option, checked before anything runs.

mod key;
mod tenant;

use super::help;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use key::{KeyCreateArgs, KeyVerb};
use std::{net::SocketAddr, path::PathBuf};
pub use tenant::{LimitArgs, ListArgs, TenantSetArgs, TenantVerb};
use types::{
    AliasName, Contract, FunctionName, InvocationId, Millis, Runtime, TenantName,
    canary::{self, Step},
    edge::Tempo,
    unit::Bytes,
};

/// Functions that live exactly as long as they are needed.
#[derive(Debug, Parser)]
#[command(name = "mayfly", version, disable_help_subcommand = true, subcommand_required = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Print one JSON document on stdout (or one a line where the answer is a stream)
    #[arg(long, global = true)]
    pub json: bool,
    /// Where the platform's API answers
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MAYFLY_API_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:9900"
    )]
    pub api_url: String,
    /// File with the API token [default: DATA_DIR/token]
    #[arg(long, global = true, value_name = "FILE", env = "MAYFLY_TOKEN_FILE", hide_env_values = true)]
    pub token_file: Option<PathBuf>,
    /// Where the platform keeps everything [default: /var/lib/mayfly for root, else ~/.local/share/mayfly]
    #[arg(long, global = true, value_name = "DIR", env = "MAYFLY_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start the whole platform in this process
    #[command(after_help = help::UP)]
    Up(Box<UpArgs>),
    /// Run a folder on this machine and reload it on every save
    #[command(after_help = help::DEV)]
    Dev(DevArgs),
    /// Make a folder with a small function that deploys as it is
    #[command(after_help = help::INIT)]
    Init(InitArgs),
    /// Upload, build and start a folder, then send the traffic to it
    #[command(after_help = help::DEPLOY)]
    Deploy(DeployArgs),
    /// Call a function and print its answer
    #[command(after_help = help::INVOKE)]
    Invoke(InvokeArgs),
    /// Show what a function wrote
    #[command(after_help = help::LOGS)]
    Logs(LogsArgs),
    /// Show a function's last calls: how long they took and how they ended
    #[command(after_help = help::INVOCATIONS)]
    Invocations(PageArgs),
    /// Show all functions with their URLs
    #[command(after_help = help::LIST)]
    List(ListArgs),
    /// Show one function: aliases, routes, revisions, instances
    #[command(after_help = help::DESCRIBE)]
    Describe(DescribeArgs),
    /// Delete a function with all its revisions, routes and logs
    #[command(after_help = help::DELETE)]
    Delete(DeleteArgs),
    /// Split traffic between two revisions, or name one of them
    #[command(subcommand, after_help = help::ALIAS)]
    Alias(AliasVerb),
    /// Send the traffic back to an earlier revision
    #[command(after_help = help::ROLLBACK)]
    Rollback(RollbackArgs),
    /// Limit how many calls at once a function may have, or stop it
    #[command(after_help = help::LIMIT)]
    Limit(LimitArgs),
    /// Map hosts and paths to functions
    #[command(subcommand, after_help = help::ROUTE)]
    Route(RouteVerb),
    /// Make and revoke API keys, for functions with `auth = "key"`
    #[command(subcommand, after_help = help::KEY)]
    Key(KeyVerb),
    /// Limit what the functions of a tenant may do together, or stop them
    #[command(subcommand, after_help = help::TENANT)]
    Tenant(TenantVerb),
    /// Show a function's deployments: how long they took and how they ended
    #[command(after_help = help::DEPLOYMENTS)]
    Deployments(DeploymentsArgs),
    /// Show the platform's version, its runtimes and how functions are held apart
    #[command(after_help = help::INFO)]
    Info,
    /// The shim beside user code; the agent starts it. It is dispatched before this parser sees it.
    #[command(hide = true)]
    Guest(GuestArgs),
    /// Compiles a WebAssembly component for this machine; the platform starts it.
    #[command(hide = true)]
    Compile(CompileArgs),
}

#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Where functions answer
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where the API answers
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    pub api: SocketAddr,
    /// Where /healthz, /readyz and /metrics answer
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,
    /// Deploy the examples, call each once and show a table [default of DIR: ./examples]
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "examples")]
    pub demo: Option<PathBuf>,
    /// Most calls at once of the functions of tenant `default`, unless `mayfly tenant set` says otherwise [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub calls_max: Option<u32>,
    /// Most calls of Wasm components at once; each reserves 4 GiB of address space, not of memory
    #[arg(long, value_name = "N", default_value_t = sandbox_wasm::Options::default().max_instances)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub wasm_calls_max: u32,
    /// Threads that serve requests [default: one for every two cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub lanes: Option<u16>,
    /// Replace the platform that serves this data directory, on its own sockets and without a refused request
    #[arg(long)]
    pub take_over: bool,
    /// SIGUSR1 stops control and fleet, and the next one starts them again: calls go on meanwhile
    #[arg(long, hide = true)]
    pub rehearse_outages: bool,
    #[command(flatten)]
    pub tls: TlsArgs,
    #[command(flatten)]
    pub traffic: TrafficArgs,
}

/// HTTPS beside HTTP.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Folder of certificates: NAME.crt with NAME.key; `default` is for unknown hosts. Read again on change
    #[arg(long, value_name = "DIR")]
    pub tls_certs: Option<PathBuf>,
    /// Where functions answer over HTTPS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443", requires = "tls_certs")]
    pub tls_listen: SocketAddr,
}

/// What every request has to keep to, and what is written about it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Requests")]
pub struct TrafficArgs {
    /// Proxies whose X-Forwarded-* and Forwarded headers are believed, as 10.0.0.0/8 or ::1
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    pub trusted_proxies: Vec<gateway::Net>,
    /// Longest URL; longer ones get 414
    #[arg(long, value_name = "SIZE", default_value = "16KiB")]
    pub url_max: Bytes,
    /// Largest head of a request; larger ones get 431
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    pub head_max: Bytes,
    /// Largest request body, whatever a function's `request_max` says; larger ones get 413 [default: no limit]
    #[arg(long, value_name = "SIZE")]
    pub body_max: Option<Bytes>,
    /// Most calls of the functions of tenant `default`, as 1000/s or 30000/m; the next ones get 429 [default: no limit]
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Tempo>,
    /// Most client connections at once, WebSockets among them; the next ones get 503
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: u32,
    /// Most requests at once on one HTTP/2 connection
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub streams_max: u32,
    /// Time for a request's head to arrive, and for a TLS handshake; then the connection is closed
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub head_timeout: Millis,
    /// A client that takes nothing of its answer for so long is cut
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub stall_timeout: Millis,
    /// Time for running requests, streams and WebSockets to end when the platform stops or is taken over
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub grace: Millis,
    /// Write a line of JSON for each request to FILE, or to stdout for `-`; SIGHUP opens the file again
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
}

impl TrafficArgs {
    /// What the gateway is started with.
    pub fn options(&self, tls: &TlsArgs) -> gateway::Options {
        gateway::Options {
            // Less would not hold what browsers send; hyper takes no less either.
            head_max: usize::try_from(self.head_max.0).unwrap_or(usize::MAX).max(8 << 10),
            url_max: usize::try_from(self.url_max.0).unwrap_or(usize::MAX),
            body_max: self.body_max.map(|max| max.0),
            connections_max: usize::try_from(self.connections_max).unwrap_or(usize::MAX),
            streams_max: self.streams_max,
            head_timeout: self.head_timeout.duration(),
            stall: self.stall_timeout.duration(),
            grace: self.grace.duration(),
            trusted: gateway::Trusted(self.trusted_proxies.clone()),
            certificates: tls.tls_certs.clone(),
            access_log: self.access_log.clone(),
            rate: self.rate,
            ..gateway::Options::default()
        }
    }
}

#[derive(Debug, Args)]
pub struct DevArgs {
    /// The function's folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Where the function answers; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The function's name, and the folder's: 1 to 63 of a-z, 0-9 and '-'
    pub name: FunctionName,
    /// The language
    #[arg(long, short, value_parser = runtimes())]
    pub runtime: Runtime,
    /// How the code is called [default: the runtime's usual one]
    #[arg(long, short, value_parser = contracts())]
    pub contract: Option<Contract>,
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The function's folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Deploy under this name instead of the manifest's
    #[arg(long, short)]
    pub name: Option<FunctionName>,
    /// Whose the function is, from its first deploy on [default: default]
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<TenantName>,
    /// Move the traffic by steps, as 5%,25%:2m,50%, and back by itself where the new revision does worse; `none` moves it at
    /// once [default: the manifest's `[canary]`]
    #[arg(long, value_name = "STEPS|none", value_parser = steps_or_none)]
    pub canary: Option<Steps>,
    /// How long a step lasts that has no time of its own
    #[arg(long, value_name = "TIME", requires = "canary")]
    pub every: Option<Millis>,
    /// Stay until the last step; where all traffic goes back, the exit code is 1
    #[arg(long)]
    pub wait: bool,
}

/// Shares of a new revision, step by step; none moves at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps(pub Vec<Step>);

fn steps_or_none(text: &str) -> Result<Steps, String> {
    if text == "none" { Ok(Steps(Vec::new())) } else { canary::steps(text).map(Steps) }
}

fn steps(text: &str) -> Result<Steps, String> {
    canary::steps(text).map(Steps)
}

#[derive(Debug, Args)]
pub struct InvokeArgs {
    pub name: FunctionName,
    /// The event: JSON, @FILE, or - for stdin [default: {}]
    #[arg(long, short, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub data: Option<String>,
    /// Which alias to call
    #[arg(long, short, default_value = "live")]
    pub alias: AliasName,
    /// Don't wait for the answer
    #[arg(long = "async")]
    pub asynchronous: bool,
    /// Show status, headers and time on stderr
    #[arg(long, short)]
    pub include: bool,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    pub name: FunctionName,
    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// Begin with the last N lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub tail: usize,
    /// Only this revision's lines
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub revision: Option<u32>,
    /// Only this call's lines
    #[arg(long, short, value_name = "ID")]
    pub invocation: Option<InvocationId>,
}

#[derive(Debug, Args)]
pub struct NameArgs {
    pub name: FunctionName,
}

#[derive(Debug, Args)]
pub struct DescribeArgs {
    #[command(flatten)]
    pub function: NameArgs,
    /// Show why it has as many instances as it has
    #[arg(long)]
    pub scaling: bool,
}

#[derive(Debug, Args)]
pub struct PageArgs {
    pub name: FunctionName,
    /// At most so many, newest first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

#[derive(Debug, Args)]
pub struct DeploymentsArgs {
    #[command(flatten)]
    pub page: PageArgs,
    /// Show the build log of one deployment instead; `last` is the newest
    #[arg(long, value_name = "ID|last")]
    pub log: Option<String>,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    pub name: FunctionName,
    /// Don't ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum AliasVerb {
    /// Show a function's aliases
    List(NameArgs),
    /// Point an alias at one revision, or split it over two
    #[command(after_help = help::ALIAS_SET)]
    Set(AliasSetArgs),
    /// Delete an alias
    Delete(AliasDeleteArgs),
}

#[derive(Debug, Args)]
pub struct AliasSetArgs {
    pub name: FunctionName,
    pub alias: AliasName,
    /// Revision numbers with their share of the traffic in per cent
    #[arg(required = true, num_args = 1..=2, value_name = "REVISION[=WEIGHT]")]
    pub targets: Vec<super::alias::Share>,
    /// Move to the one revision by steps, as 5%,25%:2m,50%, and back by itself where it does worse
    #[arg(long, value_name = "STEPS", value_parser = steps)]
    pub canary: Option<Steps>,
    /// How long a step lasts that has no time of its own
    #[arg(long, value_name = "TIME", requires = "canary")]
    pub every: Option<Millis>,
}

#[derive(Debug, Args)]
pub struct AliasDeleteArgs {
    pub name: FunctionName,
    pub alias: AliasName,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    pub name: FunctionName,
    /// The revision to go back to [default: the one before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub to: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub enum RouteVerb {
    /// Show all routes
    List,
    /// Map a path to a function's alias
    Add(RouteAddArgs),
    /// Take a route away
    Rm(RouteKeyArgs),
}

/// What tells one route from another.
#[derive(Debug, Args)]
pub struct RouteKeyArgs {
    /// `/thumbs` is this path alone, `/thumbs/*` all below it and itself, `/users/{id}` any user
    pub path: String,
    /// Only this host; `*.example.com` is every one below it [default: every host]
    #[arg(long)]
    pub host: Option<String>,
    /// Only these methods [default: every method]
    #[arg(long = "method", short, value_name = "METHOD", value_delimiter = ',')]
    pub methods: Vec<String>,
    /// Only requests with this header; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Debug, Args)]
pub struct RouteAddArgs {
    pub name: FunctionName,
    #[command(flatten)]
    pub key: RouteKeyArgs,
    /// Which alias takes the requests
    #[arg(long, short, default_value = "live")]
    pub alias: AliasName,
}

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct GuestArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub struct CompileArgs {
    /// The component
    pub input: PathBuf,
    /// Where the machine code goes
    pub output: PathBuf,
}

/// `types` knows no clap: these two give it the possible values, so that help and errors list them.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RuntimeName {
    Nodejs,
    Python,
    Java,
    Go,
    Rust,
    Binary,
    Wasm,
}

fn runtimes() -> impl clap::builder::TypedValueParser<Value = Runtime> {
    use clap::builder::{EnumValueParser, TypedValueParser};
    EnumValueParser::<RuntimeName>::new().map(|name| match name {
        RuntimeName::Nodejs => Runtime::Nodejs,
        RuntimeName::Python => Runtime::Python,
        RuntimeName::Java => Runtime::Java,
        RuntimeName::Go => Runtime::Go,
        RuntimeName::Rust => Runtime::Rust,
        RuntimeName::Binary => Runtime::Binary,
        RuntimeName::Wasm => Runtime::Wasm,
    })
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ContractName {
    Handler,
    Http,
    Command,
    Component,
}

fn contracts() -> impl clap::builder::TypedValueParser<Value = Contract> {
    use clap::builder::{EnumValueParser, TypedValueParser};
    EnumValueParser::<ContractName>::new().map(|name| match name {
        ContractName::Handler => Contract::Handler,
        ContractName::Http => Contract::Http,
        ContractName::Command => Contract::Command,
        ContractName::Component => Contract::Component,
    })
}
