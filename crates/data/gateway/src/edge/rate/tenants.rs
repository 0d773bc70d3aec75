//! The buckets of all tenants that have a limit. One whose limit did not change keeps what is in it.

use super::Tenant;
use std::{collections::HashMap, sync::Arc};
use types::{TenantName, edge::Tempo, tenant::TenantLimits};

/// Shared by the tables of all lanes.
#[derive(Clone, Default)]
pub(crate) struct Tenants {
    /// Of `default`, unless its record says otherwise.
    option: Option<Tempo>,
    all: Arc<HashMap<TenantName, Arc<Tenant>>>,
}

impl Tenants {
    pub(crate) fn new(option: Option<Tempo>) -> Self {
        Self { option, all: Arc::default() }.next(&HashMap::new())
    }

    pub(crate) fn get(&self, name: &TenantName) -> Option<&Arc<Tenant>> {
        // Nobody is looked up where nobody has a limit.
        if self.all.is_empty() { None } else { self.all.get(name) }
    }

    /// What holds by these records.
    #[must_use]
    pub(crate) fn next(&self, records: &HashMap<TenantName, TenantLimits>) -> Self {
        let mut rates: HashMap<&TenantName, Tempo> =
            records.iter().filter_map(|(name, limits)| Some((name, limits.rate?))).collect();
        let default = TenantName::default();
        if let Some(option) = self.option {
            rates.entry(&default).or_insert(option);
        }
        let bucket = |(name, tempo): (&TenantName, Tempo)| {
            let known = self.all.get(name).filter(|tenant| tenant.is_of(tempo));
            (name.clone(), known.map_or_else(|| Arc::new(Tenant::new(tempo)), Arc::clone))
        };
        Self { option: self.option, all: Arc::new(rates.into_iter().map(bucket).collect()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::Standing, *};
    use std::time::Instant;

    fn records(rates: &[(&str, Option<&str>)]) -> HashMap<TenantName, TenantLimits> {
        let limits =
            |rate: Option<&str>| TenantLimits { calls_max: None, rate: rate.map(|rate| rate.parse().unwrap()) };
        rates.iter().map(|(name, rate)| (name.parse().unwrap(), limits(*rate))).collect()
    }

    /// How many calls a tenant has left; 99 is without end.
    fn room(tenants: &Tenants, name: &str) -> usize {
        let at = Instant::now();
        let Some(tenant) = tenants.get(&name.parse().unwrap()) else { return 99 };
        (0..99).take_while(|_| tenant.take(at, &mut Standing::default()).is_ok()).count()
    }

    #[test]
    fn each_tenant_has_a_bucket_of_its_own_that_only_its_own_change_fills() {
        let first = Tenants::new(Some("2/h".parse().unwrap()));
        assert_eq!((room(&first, "default"), room(&first, "default"), room(&first, "a")), (1, 0, 99));
        let second = first.next(&records(&[("a", Some("1/h")), ("b", Some("5/h")), ("c", None)]));
        assert_eq!((room(&second, "a"), room(&second, "a")), (1, 0), "flooded");
        assert_eq!((room(&second, "b"), room(&second, "c"), room(&second, "default")), (1, 99, 0));
        // A faster one for `a`, none for `b`, and a record for `default`.
        let third = second.next(&records(&[("a", Some("3/s")), ("b", None), ("default", Some("9/s"))]));
        assert_eq!((room(&third, "a"), room(&third, "b"), room(&third, "default")), (3, 99, 9));
        let back = third.next(&records(&[("a", Some("3/s"))]));
        assert_eq!((room(&back, "a"), room(&back, "default")), (0, 1), "the same limit has the same bucket");
    }
}
