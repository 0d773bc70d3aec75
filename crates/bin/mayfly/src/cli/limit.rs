//! `mayfly limit`: how many calls at once a function may have.

use super::{Session, args::LimitArgs, failure::Outcome};
use crate::client::Condition;
use http::Method;
use types::api::Limit;

pub async fn run(session: &Session, args: LimitArgs) -> Outcome {
    let path = format!("/functions/{}/limit", args.name);
    let limit: Limit = match (args.calls, args.none) {
        (None, false) => session.client.get(&path).await?,
        (calls, _) => session.client.change(Method::PUT, &path, &Limit { calls }, Condition::Always).await?,
    };
    session.screen.result(&limit, |_| match limit.calls {
        None => format!("{} has no limit of its own\n", args.name),
        Some(0) => format!("{} is stopped: no call is let through\n", args.name),
        Some(calls) => format!("{} may have {calls} calls at once\n", args.name),
    })
}
