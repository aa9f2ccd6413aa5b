//! The models of all targets together: the list of them, and each by its name.

use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use kt_domain::policy_config::vendors::Wire;
use serde_json::{Value, json};

use crate::exchange::{Answered, Exchange};
use crate::forward::Forwarded;
use crate::incoming::unless_gone;
use crate::providers::select::{self, Asked};
use crate::providers::target::Target;
use crate::providers::translate;
use crate::reply::{Refusal, Reply};
use crate::stages::path::percent_decoded;
use crate::upstream::Limits;
use crate::usage::Usage;

const PATH: &str = "/v1/models";
/// Asks Anthropic for as many models as one page of its list may have; unasked it has 20.
const WHOLE_PAGE: &str = "limit=1000";

impl Exchange<'_> {
    /// Whether a request is about models, and no target alone has the answer in OpenAI's words.
    pub(crate) fn is_about_all_models(&self) -> bool {
        let alone = match &self.snapshot.targets[..] {
            [] => return false,
            [only] => only.model.is_none() && only.wire != Wire::Anthropic,
            [..] => false,
        };
        !alone && self.asked_model().is_some()
    }

    /// What stands behind the path of the list: nothing for the list, else the name of one model.
    fn asked_model(&self) -> Option<&str> {
        let below = self.path.strip_prefix(PATH)?;
        if below.is_empty() { Some("") } else { below.strip_prefix('/') }
    }

    /// Tells of every model that can be asked for, or of one of them by its name: those that targets name, and those of
    /// targets that name none, as these list them. A target that does not answer is left out, unless there is nothing else
    /// to tell.
    pub(crate) async fn tell_models(
        &mut self,
        forwarded: &Forwarded,
        limits: Limits,
    ) -> Result<Answered, Refusal> {
        let asked_model = percent_decoded(self.asked_model().unwrap_or_default()).into_owned();
        let asked_path = std::mem::replace(&mut self.path, PATH.to_owned());
        let models = self.models(forwarded, limits).await;
        self.path = asked_path;
        let models = models?;
        let told = if asked_model.is_empty() {
            list(&models, &self.head.headers)
        } else {
            let found = models.into_iter().find(|model| model["id"] == *asked_model);
            let model = found.ok_or_else(unknown_model)?;
            if speaks_anthropic(&self.head.headers) { translate::anthropic_model(&model) } else { model }
        };
        Ok(Answered::Whole(Reply::json(StatusCode::OK, told.to_string()), Usage::default()))
    }

    /// The models of all targets, each once, in OpenAI's words.
    async fn models(&mut self, forwarded: &Forwarded, limits: Limits) -> Result<Vec<Value>, Refusal> {
        let snapshot = Arc::clone(&self.snapshot);
        // Whichever API a target speaks, its list is understood.
        let asked = Asked { is_translatable: true, ..forwarded.asked() };
        let mut models: Vec<Value> = Vec::new();
        let mut failed = None;
        for target in snapshot.targets.iter().filter(|target| target.available && asked.permits(target)) {
            let listed = match &target.model {
                Some(own) => Ok(named(target, own)),
                None => self.models_of(target, forwarded, limits).await?,
            };
            match listed {
                Err(refusal) => failed = Some(refusal),
                Ok(listed) => {
                    for model in listed {
                        if !models.iter().any(|known| known["id"] == model["id"]) {
                            models.push(model);
                        }
                    }
                }
            }
        }
        if models.is_empty() {
            failed.map_or(Ok(()), Err)?;
            // Whoever chooses a target knows why none can be asked.
            select::target(&snapshot, asked, &[], self.now())?;
        }
        Ok(models)
    }

    /// The models that a target lists, or why it gives no list.
    async fn models_of(
        &mut self,
        target: &Arc<Target>,
        forwarded: &Forwarded,
        limits: Limits,
    ) -> Result<Result<Vec<Value>, Refusal>, Refusal> {
        if target.wire == Wire::Echo {
            return Ok(Ok(vec![model(target, "echo")]));
        }
        self.head.query = (target.wire == Wire::Anthropic).then(|| WHOLE_PAGE.to_owned());
        let Some(choice) = select::again(target, self.now()) else { return Ok(Ok(Vec::new())) };
        let answer = match self.attempt(target, forwarded, &forwarded.body, limits).await? {
            Ok(answer) if answer.status == StatusCode::OK => answer,
            Ok(_) => return Ok(Ok(Vec::new())),
            Err(setback) => {
                choice.failed(self.fault(setback.code), setback.is_fault());
                return Ok(setback.fault().map_or(Ok(Vec::new()), |fault| Err(self.upstream_refusal(fault))));
            }
        };
        let whole = answer.body.take_whole(self.size_limits().max_response_body_bytes);
        let whole = unless_gone(self.body, pin!(whole)).await.map_err(|_| Refusal::client_closed())?;
        self.settle(Some(choice), whole.as_ref().err().copied());
        Ok(match whole {
            Ok((body, _)) => Ok(listed(target, &body)),
            Err(fault) => Err(self.upstream_refusal(fault)),
        })
    }
}

/// A list in the words of whoever asks: of Anthropic's API if the request names a version of it, else of OpenAI's.
fn list(models: &[Value], request: &HeaderMap) -> Value {
    if speaks_anthropic(request) {
        return translate::anthropic_models(models);
    }
    json!({ "object": "list", "data": models })
}

fn speaks_anthropic(request: &HeaderMap) -> bool {
    request.contains_key("anthropic-version")
}

fn unknown_model() -> Refusal {
    let message =
        "No provider of this gateway lists this model. `GET /v1/models` lists those that can be asked for.";
    Refusal::not_found(404, "unknown_model", message)
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
