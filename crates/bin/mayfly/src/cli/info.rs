//! `mayfly info`: what the platform is and has.

use super::{Session, failure::Outcome, screen::Paint, table::Table};
use types::api::Info;

pub async fn run(session: &Session) -> Outcome {
    let info: Info = session.client.get("/info").await?;
    session.screen.result(&info, |paint| words(&info, session.client.url(), paint))
}

fn words(info: &Info, api_url: &str, paint: Paint) -> String {
    let mut rows = Table::new(&["RUNTIME", "HERE", "DETAIL"]);
    for runtime in &info.runtimes {
        let here = if runtime.available { "yes" } else { "no" };
        rows.row([runtime.runtime.to_string(), here.to_owned(), runtime.detail.clone()]);
    }
    let calls = match (info.calls_max, info.calls_unreserved) {
        (Some(max), Some(left)) => format!("calls      {max} at once, {left} of them for functions without a limit\n"),
        _ => String::new(),
    };
    format!(
        "{} {}\nfunctions  {}\nAPI        {api_url}\nisolation  {}\n{calls}\n{}",
        paint.bold("mayfly"),
        info.version,
        info.gateway_url,
        info.isolation,
        rows.render(paint)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_runtime_says_what_is_missing() {
        let info: Info = serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "gateway_url": "http://127.0.0.1:8080", "isolation": "own process group",
            "calls_max": 100, "calls_unreserved": 60,
            "runtimes": [{ "runtime": "go", "available": false, "detail": "no `go` in PATH" }],
        }))
        .unwrap();
        let text = words(&info, "http://127.0.0.1:9900", Paint::plain());
        assert!(text.contains("go       no    no `go` in PATH\n"), "{text}");
        assert!(text.contains("isolation  own process group\n"), "{text}");
        assert!(text.contains("calls      100 at once, 60 of them for functions without a limit\n"), "{text}");
    }
}
