//! `/v1/events`: what gateways have recorded, delivered by them and looked through by people and programs.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use kt_control::{Delivered, Delivery, EventFilter};
use kt_domain::error::Error;
use kt_domain::network::cidr::canonical;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::paging::{Listing, PageParams};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsParams {
    /// `decision`, `ip_denied`, `request_too_large`, `rate_limited`, `auth_failed` or `events_lost`.
    pub(crate) event_type: Option<String>,
    /// Not before this (RFC 3339).
    pub(crate) since: Option<String>,
    /// Before this (RFC 3339).
    pub(crate) until: Option<String>,
    /// The address that the rules saw.
    pub(crate) source_ip: Option<String>,
    /// The request, as in `X-KT-Request-Id`.
    pub(crate) request_id: Option<String>,
    /// `allow`, `block`, `redact` or `escalate`.
    pub(crate) verdict: Option<String>,
    /// The gateway that recorded them.
    pub(crate) gateway_id: Option<String>,
}

impl EventsParams {
    /// The events that are asked for.
    pub(crate) fn filter(&self) -> Result<EventFilter, Error> {
        Ok(EventFilter {
            event_type: named("event_type", self.event_type.as_deref())?,
            since: moment("since", self.since.as_deref())?,
            until: moment("until", self.until.as_deref())?,
            source_ip: named("source_ip", self.source_ip.as_deref())?.map(canonical),
            request_id: self.request_id.clone(),
            verdict: named("verdict", self.verdict.as_deref())?,
            gateway_id: self.gateway_id.clone(),
        })
    }
}

/// Events.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventsAnswer {
    /// Each as its gateway recorded it, all fields at top level.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// Entries of a gateway's event log, or events by themselves: one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryRequest {
    /// The gateway whose entries these are.
    gateway_id: Option<String>,
    /// Each as it stands in the gateway's log, in order: events, and the statements among them. At most 10,000. What is
    /// kept of them is proven.
    #[schema(value_type = Option<Vec<Object>>)]
    entries: Option<Vec<Box<RawValue>>>,
    /// Events without their chain, 1 to 1000, known by their `id`.
    #[schema(value_type = Option<Vec<Object>>)]
    events: Option<Vec<Box<RawValue>>>,
}

/// What a delivery came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryAnswer {
    /// How many entries or events were new.
    accepted: usize,
    /// The number of the chain's entry that comes next.
    next_seq: Option<u64>,
}

impl From<Delivered> for DeliveryAnswer {
    fn from(delivered: Delivered) -> Self {
        Self { accepted: delivered.accepted, next_seq: delivered.next_seq }
    }
}

/// The events of the organization, the newest first.
#[utoipa::path(get, path = "/v1/events", tag = "evidence", params(EventsParams, PageParams), responses(
    (status = 200, description = "A page of events.", body = EventsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn events(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { filter: params, page: request }: Listing<EventsParams>,
) -> Result<Json<EventsAnswer>, Failure> {
    let page = doors.control.events(&ctx, &params.filter()?, &request).await?;
    let events = page.items.into_iter().map(RawValue::from_string).collect::<Result<_, _>>();
    Ok(Json(EventsAnswer { events: events.map_err(Error::internal)?, next_cursor: page.next_cursor }))
}

/// Deliver events, with the gateway's key. What is here already is passed over.
#[utoipa::path(post, path = "/v1/events", tag = "gateways", request_body = DeliveryRequest, responses(
    (status = 200, description = "All that were new are kept.", body = DeliveryAnswer),
    (status = 401, description = "No key, or no good one.", body = ErrorBody),
    (status = 403, description = "Not a gateway's key.", body = ErrorBody),
    (status = 409, description = "The entries do not follow those that are here; `next_seq` says what is missing.",
        body = ErrorBody),
    (status = 422, description = "An entry cannot be read.", body = ErrorBody),
))]
pub(crate) async fn deliver(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<DeliveryRequest>,
) -> Result<Json<DeliveryAnswer>, Failure> {
    let DeliveryRequest { gateway_id, entries, events } = request;
    let delivered = match (gateway_id, entries, events) {
        (Some(gateway_id), Some(entries), None) => {
            let entries = &texts(&entries);
            let delivery = Delivery::Chain { gateway_id: &gateway_id, entries };
            doors.control.deliver_events(&ctx, delivery).await?
        }
        (None, None, Some(events)) => {
            doors.control.deliver_events(&ctx, Delivery::Loose(&texts(&events))).await?
        }
        _ => {
            let message = "Send either `gateway_id` and `entries`, or `events`.";
            return Err(Error::invalid("entries", message).into());
        }
    };
    Ok(Json(delivered.into()))
}

fn texts(values: &[Box<RawValue>]) -> Vec<&str> {
    values.iter().map(|value| value.get()).collect()
}

/// The value of a parameter, as it is written in events.
fn named<T: DeserializeOwned>(param: &'static str, text: Option<&str>) -> Result<Option<T>, Error> {
    let value = |text: &str| serde_json::from_value(Value::String(text.to_owned()));
    text.map(value).transpose().map_err(|why| Error::invalid(param, why.to_string()))
}

fn moment(param: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    text.map(str::parse).transpose().map_err(|_: jiff::Error| {
        Error::invalid(param, "Write a time such as 2026-03-15T14:22:31Z (a `+` is written %2B).")
    })
}
