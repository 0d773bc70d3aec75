//! Contract `component`: a WebAssembly instance of its own for each call, in this process.

use crate::{
    link::{limit, vitals::Vitals},
    log::{Journal, Source},
};
use http::Response;
use sandbox_wasm::{Component, Limits, LogSink, Output};
use std::sync::Arc;
use types::record::Stream;
use wire::{Body, BoxFuture, Call, End, Link, Permit, Refusal};

pub(crate) struct ComponentLink {
    component: Component,
    vitals: Vitals,
    env: Arc<[(String, String)]>,
    log: LogSink,
}

impl ComponentLink {
    pub(crate) fn new(component: Component, vitals: Vitals, journal: Journal) -> Self {
        let env = vitals.revision.spec.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let source = Source { revision: vitals.revision.id.clone(), instance: vitals.id };
        let log: LogSink = Arc::new(move |output, id, text: &[u8]| {
            let stream = match output {
                Output::Stdout => Stream::Stdout,
                Output::Stderr => Stream::Stderr,
            };
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                // The lane does not wait for the disk: where the journal is full, the line is lost.
                journal.try_write(source.line(stream, Some(id), String::from_utf8_lossy(line).into_owned()));
            }
        });
        Self { component, vitals, env, log }
    }

    async fn run(&self, call: Call, permit: Permit) -> Result<Response<Body>, Refusal> {
        let spec = &self.vitals.revision.spec;
        let (parts, body) = call.request.into_parts();
        let body = match limit::request(body, spec.request_max) {
            Ok(body) => body,
            Err(fault) => {
                permit.finish(End::fault(&fault));
                return Err(fault.into());
            }
        };
        let limits = Limits { memory: spec.memory, deadline: call.deadline };
        let request = http::Request::from_parts(parts, body);
        let response = self.component.call(request, call.id, limits, &self.env, &self.log, permit).await?;
        Ok(response)
    }
}

impl Link for ComponentLink {
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<Response<Body>, Refusal>> {
        Box::pin(self.run(call, permit))
    }
}
