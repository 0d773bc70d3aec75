//! Bench `proxy`: a warm `http` function behind the platform, behind nginx, and called directly.
//!
//! All three speak to the same process of the function over its UNIX socket. nginx sets the same headers; a second one
//! that sets none shows what they cost it.

use crate::{
    duel::{self, Rounds, Side},
    folder,
    load::{Address, Sample, get},
    nginx::Nginx,
    options::Options,
    platform::Platform,
    report::{Report, Row},
};

const MANY: usize = 32;

fn cpu(sample: &Sample) -> f64 {
    sample.cpu_us
}
fn p50(sample: &Sample) -> f64 {
    sample.p50_us
}
fn rate(sample: &Sample) -> f64 {
    sample.per_second
}

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("proxy");
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
    rows(&mut report, &many, &one);
    report.finish()
}

async fn deployed(binary: &std::path::Path) -> anyhow::Result<Platform> {
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
    let [direct, nginx, plain, ours, ..] = many else { return };
    let what = "cpu per request, http over unix";
    report.row(
        Row::new(what, ours.median(cpu), "µs")
            .against("nginx", nginx.median(cpu), ours.ratio(nginx, cpu))
            .goal("≤ 1.5 × nginx")
            .spread(ours.spread(cpu)),
    );
    report.row(Row::new(format!("{what}, nginx sets no headers"), ours.median(cpu), "µs").against(
        "nginx",
        plain.median(cpu),
        ours.ratio(plain, cpu),
    ));
    report.row(
        Row::new("requests per second, c=32", ours.median(rate), "/s")
            .against("nginx", nginx.median(rate), ours.ratio(nginx, rate))
            .spread(ours.spread(rate)),
    );
    report.row(Row::new("requests per second, c=32, direct", direct.median(rate), "/s"));
    if let Some(other) = many.get(4) {
        report.row(Row::new(what, ours.median(cpu), "µs").against(
            "other build",
            other.median(cpu),
            ours.ratio(other, cpu),
        ));
    }
    let [direct, nginx, _, ours, ..] = one else { return };
    let added = |side: &Rounds| side.difference(direct, p50);
    report.row(
        Row::new("p50 added, c=1", added(ours), "µs")
            .against("nginx", added(nginx), added(ours) / added(nginx))
            .goal("≤ 40 µs")
            .spread(ours.spread(p50)),
    );
    report.row(
        Row::new("cpu per request, c=1", ours.median(cpu), "µs")
            .against("nginx", nginx.median(cpu), ours.ratio(nginx, cpu))
            .spread(ours.spread(cpu)),
    );
}
