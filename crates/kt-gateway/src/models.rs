//! The list of models of all targets together.

use std::sync::Arc;

use bytes::BytesMut;
use http::StatusCode;
use kt_domain::policy_config::vendors::Wire;
use serde_json::{Value, json};

use crate::exchange::{Answered, Exchange};
use crate::forward::Forwarded;
use crate::incoming::unless_gone;
use crate::providers::select;
use crate::providers::target::Target;
use crate::providers::translate;
use crate::reply::{Refusal, Reply};
use crate::upstream::Limits;
use crate::usage::Usage;

impl Exchange<'_> {
    /// Whether a request is for a list of models that no target alone can give.
    pub(crate) fn is_for_all_models(&self) -> bool {
        self.head.path == "/v1/models" && self.snapshot.targets.len() > 1
    }

    /// Every model that can be asked for: those that targets name, and those of targets that name none, as these list
    /// them. A target that does not answer is left out.
    pub(crate) async fn list_models(
        &mut self,
        forwarded: &Forwarded,
        limits: Limits,
    ) -> Result<Answered, Refusal> {
        let snapshot = Arc::clone(&self.snapshot);
        let asked = forwarded.asked();
        let mut models: Vec<Value> = Vec::new();
        for target in snapshot.targets.iter().filter(|target| target.available && asked.permits(target)) {
            let listed = match &target.model {
                Some(own) => named(target, own),
                None => self.models_of(target, forwarded, limits).await?,
            };
            for model in listed {
                if !models.iter().any(|known| known["id"] == model["id"]) {
                    models.push(model);
                }
            }
        }
        let list = json!({ "object": "list", "data": models });
        Ok(Answered::Whole(Reply::json(StatusCode::OK, list.to_string()), Usage::default()))
    }

    async fn models_of(
        &mut self,
        target: &Arc<Target>,
        forwarded: &Forwarded,
        limits: Limits,
    ) -> Result<Vec<Value>, Refusal> {
        if target.wire == Wire::Echo {
            return Ok(vec![model(target, "echo")]);
        }
        let Some(choice) = select::again(target, self.now()) else { return Ok(Vec::new()) };
        let answer = match self.attempt(target, forwarded, limits).await? {
            Ok(answer) if answer.status == StatusCode::OK => answer,
            Ok(_) => return Ok(Vec::new()),
            Err(setback) => {
                choice.failed(self.fault(setback.code), setback.is_fault());
                return Ok(Vec::new());
            }
        };
        let whole = answer.body.take_whole(self.size_limits().max_response_body_bytes);
        let whole = unless_gone(self.body, whole).await.map_err(|_| Refusal::client_closed())?;
        self.settle(Some(choice), whole.as_ref().err().copied());
        Ok(whole.map_or_else(|_| Vec::new(), |(body, _)| listed(target, &body)))
    }
}

/// What a target answered, as OpenAI's list has it.
fn listed(target: &Target, body: &BytesMut) -> Vec<Value> {
    let list: Value = serde_json::from_slice(body).unwrap_or_default();
    match target.wire {
        Wire::Anthropic => translate::models(&list),
        Wire::OpenAi | Wire::Echo => {
            let models = list["data"].as_array().cloned().unwrap_or_default();
            models.into_iter().filter(|model| model["id"].is_string()).collect()
        }
    }
}

/// The model of a target that names one, under each of its names.
fn named(target: &Target, own: &str) -> Vec<Value> {
    let names = std::iter::once(own).chain(target.serves.iter().map(String::as_str));
    names.map(|name| model(target, name)).collect()
}

fn model(target: &Target, name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": &*target.vendor })
}
