//! How much memory one instance may have.

use wasmtime::ResourceLimiter;

/// Counts the linear memories of one instance together, and remembers that the limit was met.
#[derive(Debug)]
pub(crate) struct Limiter {
    max: usize,
    used: usize,
    /// The last size that was refused, in bytes.
    pub(crate) refused: Option<usize>,
}

impl Limiter {
    pub(crate) fn new(max: u64) -> Self {
        Self { max: usize::try_from(max).unwrap_or(usize::MAX), used: 0, refused: None }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.used.saturating_add(desired.saturating_sub(current));
        // Beyond `maximum` (the pool's slot) wasmtime refuses by itself.
        if total > self.max || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = Some(total);
            return Ok(false);
        }
        self.used = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memories_count_together() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert_eq!(limiter.refused, None);
        assert!(!limiter.memory_growing(60, 61, None).unwrap());
        assert_eq!(limiter.refused, Some(101));
    }

    #[test]
    fn a_slot_of_the_pool_is_a_limit_too() {
        let mut limiter = Limiter::new(100);
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        assert_eq!(limiter.refused, Some(60));
    }
}
