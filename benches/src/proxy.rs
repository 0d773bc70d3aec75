//! Bench `proxy`: a warm `http` function behind the platform, behind nginx, and called directly; then warm handlers.
//!
//! All three speak to the same process of the function over its UNIX socket. nginx sets the same headers; a second one
//! that sets none shows what they cost it.

use crate::{
    duel::{self, Rounds, Side},
    folder, handler,
    load::{Address, get},
    nginx::Nginx,
    options::Options,
    platform::Platform,
    report::{Report, Row},
};

pub const MANY: usize = 32;

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("proxy");
    if options.wants("upstream") {
        http(&mut report, options).await?;
    }
    let handlers = handler::run(&mut report, options).await;
    report.finish()?;
    handlers
}

async fn http(report: &mut Report, options: &Options) -> anyhow::Result<()> {
    let platform = deployed(&options.binary).await?;
    let socket = platform.socket()?;
    let workers = platform.lanes()?.max(1);
    let nginx = Nginx::start(&socket, workers, true).await?;
    let plain = Nginx::start(&socket, workers, false).await?;
    let direct = Side { name: "direct".into(), address: Address::Unix(socket), request: get("/"), meter: None };
    let by_nginx =
        Side { name: "nginx".into(), address: nginx.address(), request: get("/"), meter: Some(nginx.meter()?) };
    let by_plain = Side {
        name: "nginx, no headers".into(),
        address: plain.address(),
        request: get("/"),
        meter: Some(plain.meter()?),
    };
    let ours = side("mayfly", &platform)?;
    let mut sides = vec![&direct, &by_nginx, &by_plain, &ours];
    let other = options.against.as_deref();
    let other_platform = match other {
        Some(binary) => Some(deployed(binary).await?),
        None => None,
    };
    let other_side = other_platform.as_ref().map(|platform| side("other build", platform)).transpose()?;
    sides.extend(&other_side);
    let many = duel::run(&sides, MANY, options).await?;
    let one = duel::run(&sides, 1, options).await?;
    rows(report, &many, &one);
    Ok(())
}

pub async fn deployed(binary: &std::path::Path) -> anyhow::Result<Platform> {
    let platform = Platform::start(binary)?;
    platform.deploy(&folder::upstream(&platform.place(), "upstream")?)?;
    platform.wait_ready("upstream", 1).await?;
    platform.call("/upstream/").await?;
    Ok(platform)
}

fn side(name: &str, platform: &Platform) -> anyhow::Result<Side> {
    let (address, meter) = (platform.gateway()?, Some(platform.meter()?));
    Ok(Side { name: name.into(), address, request: get("/upstream/"), meter })
}

fn rows(report: &mut Report, many: &[Rounds], one: &[Rounds]) {
    let [direct, nginx, plain, ours, others @ ..] = many else { return };
    let what = "cpu per request, http over unix";
    report.row(ours.row(what, "µs", "nginx", nginx, duel::cpu).goal("≤ 1.2 × nginx"));
    report.row(ours.row(format!("{what}, nginx sets no headers"), "µs", "nginx", plain, duel::cpu));
    for other in others {
        report.row(ours.row(what, "µs", "other build", other, duel::cpu));
    }
    report.row(ours.row("requests per second, c=32", "/s", "nginx", nginx, duel::rate));
    report.row(Row::new("requests per second, c=32, direct", direct.median(duel::rate), "/s"));
    let [direct, nginx, _, ours, ..] = one else { return };
    let added = |side: &Rounds| side.difference(direct, duel::p50);
    report.row(
        Row::new("p50 added, c=1", added(ours), "µs")
            .against("nginx", added(nginx), added(ours) / added(nginx))
            .goal("≤ 40 µs")
            .spread(ours.spread(duel::p50)),
    );
    report.row(ours.row("cpu per request, c=1", "µs", "nginx", nginx, duel::cpu));
}
