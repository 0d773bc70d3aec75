//! `mayfly tenant`: what the functions of a tenant may do together.

use super::{
    Session,
    args::{TenantSetArgs, TenantVerb},
    failure::Outcome,
    screen::Paint,
    table::Table,
};
use crate::client::{Condition, Error};
use http::Method;
use serde_json::json;
use types::{
    Code,
    tenant::{Tenant, TenantLimits, TenantList},
};
use wire::Body;

pub async fn run(session: &Session, verb: TenantVerb) -> Outcome {
    match verb {
        TenantVerb::Set(args) => set(session, args).await,
        TenantVerb::List => {
            let list: TenantList = session.client.get("/tenants").await?;
            session.screen.result(&list, |paint| words(&list.tenants, paint))
        }
        TenantVerb::Delete(args) => {
            session.client.delete(&format!("/tenants/{}", args.name), Body::Empty, Condition::Always).await?;
            session.screen.result(&json!({ "deleted": args.name }), |_| format!("tenant {} is deleted\n", args.name))
        }
    }
}

/// What is not said stays as it is.
async fn set(session: &Session, args: TenantSetArgs) -> Outcome {
    let path = format!("/tenants/{}", args.name);
    let (limits, condition) = match session.client.get_tagged::<Tenant>(&path).await {
        // `default` without a record: what the platform's options say is not written down.
        Ok((_, None)) => (TenantLimits::default(), Condition::Absent),
        Ok((now, Some(tag))) => (TenantLimits { calls_max: now.calls_max, rate: now.rate }, Condition::Unchanged(tag)),
        Err(Error::Fault(fault)) if fault.code == Code::TenantNotFound => (TenantLimits::default(), Condition::Absent),
        Err(error) => return Err(error.into()),
    };
    let limits = TenantLimits {
        calls_max: args.calls_max.map_or(limits.calls_max, |asked| asked.0),
        rate: args.rate.map_or(limits.rate, |asked| asked.0),
    };
    let tenant: Tenant = session.client.change(Method::PUT, &path, &limits, condition).await?;
    session.screen.result(&tenant, |_| match tenant.calls_max {
        Some(0) => format!("tenant {} is stopped: no call of its functions is let through\n", tenant.name),
        _ => format!("tenant {} may have {} calls at once and {}\n", tenant.name, calls(&tenant), rate(&tenant)),
    })
}

fn calls(tenant: &Tenant) -> String {
    tenant.calls_max.map_or_else(|| "any number of".to_owned(), |max| max.to_string())
}

fn rate(tenant: &Tenant) -> String {
    tenant.rate.map_or_else(|| "as often as it likes".to_owned(), |rate| format!("{rate} of them"))
}

fn words(tenants: &[Tenant], paint: Paint) -> String {
    let mut rows = Table::new(&["TENANT", ">CALLS", ">RATE", ">FUNCTIONS"]);
    for tenant in tenants {
        rows.row([
            tenant.name.to_string(),
            tenant.calls_max.map_or_else(|| "-".to_owned(), |max| max.to_string()),
            tenant.rate.map_or_else(|| "-".to_owned(), |rate| rate.to_string()),
            tenant.functions.to_string(),
        ]);
    }
    rows.render(paint)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tenants_stand_in_a_table() {
        let tenant = |name: &str, calls_max, rate: Option<&str>, functions| Tenant {
            name: name.parse().unwrap(),
            calls_max,
            rate: rate.map(|rate| rate.parse().unwrap()),
            functions,
        };
        let tenants = [tenant("acme", Some(100), Some("1000/s"), 2), tenant("default", None, None, 12)];
        assert_eq!(
            words(&tenants, Paint::plain()),
            "TENANT   CALLS    RATE  FUNCTIONS\n\
             acme       100  1000/s          2\n\
             default      -       -         12\n"
        );
    }
}
