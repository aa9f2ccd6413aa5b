//! One request, from its head to its answer: the stages in their order, the provider, the record.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use kt_domain::clock::Clock;
use kt_domain::events::{Event, Phase};
use kt_domain::id::RequestId;
use kt_domain::policy_config::{Rates, SizeLimits};

use crate::contain::{Panicked, contained_async};
use crate::forward::Forwarded;
use crate::health;
use crate::http1::connection::ClientTimeouts;
use crate::http1::head::{Head, HeadFault};
use crate::incoming::{Incoming, Peer, Service};
use crate::limits::Subject;
use crate::outgoing::{JudgedStream, Source};
use crate::policies::Chain;
use crate::record::{Heard, Record};
use crate::reply::{Refusal, Reply, ReplyBody, X_KT_POLICY_ACTION, X_KT_REQUEST_ID};
use crate::scopes::Scope;
use crate::shared::{Place, Worker, describe};
use crate::snapshot::{Key, Snapshot};
use crate::stages::budgets::Expected;
use crate::stages::content::Summary;
use crate::stages::cors::CorsRules;
use crate::stages::route::Route;
use crate::stages::safety::Moderator;
use crate::stages::{
    address, authenticate, circle, content, host, page, path, policy_chain, rate_limits, route, size_limits,
};
use crate::surface::Surface;
use crate::usage::Usage;

/// After how many seconds a request may be sent again that was refused because the gateway stands aside.
const DRAINING_RETRY_AFTER: &str = "5";
/// Told to whoever came over TLS: for two years, come no other way (RFC 6797; OWASP ASVS 5.0, 3.4.1).
const STAY_WITH_HTTPS: &str = "max-age=63072000; includeSubDomains";

/// The gateway's answers, given by one worker.
pub(crate) struct GatewayService(pub(crate) Arc<Worker>);

impl Service for GatewayService {
    async fn call(&self, head: Head, body: &mut dyn Incoming, peer: &Peer) -> Reply {
        let page = only_origin(&head.headers)
            .map(|origin| Page { origin: origin.clone(), asked: head.path.clone() });
        let exchange = Exchange::begin(&self.0, head, body, *peer);
        let (request_id, surface) = (exchange.request_id, exchange.surface);
        match contained_async(pin!(exchange.run())).await {
            Ok(reply) => reply,
            Err(Panicked) => self.answer_defect(request_id, surface, page, peer),
        }
    }

    async fn refuse_malformed(&self, fault: HeadFault, head: Option<&Head>, peer: &Peer) -> Reply {
        self.refuse_unserved(head, peer, || fault.into()).await
    }

    async fn turn_away(&self, head: &Head, peer: &Peer) -> Reply {
        self.refuse_unserved(Some(head), peer, Refusal::too_many_connections).await
    }

    fn client_timeouts(&self) -> ClientTimeouts {
        self.0.shared.snapshot.load().client_timeouts
    }

    fn clock(&self) -> &dyn Clock {
        &*self.0.shared.clock
    }

    fn is_draining(&self) -> bool {
        self.0.shared.sends_away()
    }
}

impl GatewayService {
    /// Refuses and records what is not served, with as much of its head as could be read.
    async fn refuse_unserved(
        &self,
        head: Option<&Head>,
        peer: &Peer,
        otherwise: impl FnOnce() -> Refusal,
    ) -> Reply {
        let snapshot = self.0.shared.snapshot.load_full();
        let (request_id, mut record) = self.0.begin_record(&snapshot);
        if let Some(head) = head {
            describe(record.event(), &head.method, &head.path);
        }
        let headers = head.map(|head| &head.headers);
        let refusal = judge_unserved(&snapshot, peer, headers, record.event(), otherwise);
        record.finish_refused(&refusal).await;
        let surface = head.map_or_else(Surface::default, |head| Surface::of(&head.path));
        let mut reply = refusal.into_reply(surface, &request_id.to_string());
        let nothing = HeaderMap::new();
        let cors = snapshot.cors_of_answer(None, head.map_or("", |head| &head.path));
        dress(&mut reply, cors, headers.unwrap_or(&nothing), peer, request_id);
        reply
    }

    /// The answer to a request that met a defect, for the page that sent it to read if it may. Its record was kept when it was
    /// dropped.
    fn answer_defect(
        &self,
        request_id: RequestId,
        surface: Surface,
        page: Option<Page>,
        peer: &Peer,
    ) -> Reply {
        tracing::error!(%request_id, "a request met a defect; the message is on standard error");
        let mut reply = Refusal::internal().into_reply(surface, &request_id.to_string());
        let snapshot = self.0.shared.snapshot.load();
        let cors = snapshot.cors_of_answer(None, page.as_ref().map_or("", |page| &page.asked));
        let request = HeaderMap::from_iter(page.map(|page| (header::ORIGIN, page.origin)));
        dress(&mut reply, cors, &request, peer, request_id);
        reply
    }
}

/// The page that sent a request, kept for the answer that it gets if the request meets a defect.
struct Page {
    origin: HeaderValue,
    /// The path that it asked for.
    asked: String,
}

/// The origin that a request names, unless it names several.
fn only_origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

/// Why something is refused before it is served: its address, which is judged before all else, or what is wrong otherwise.
fn judge_unserved(
    snapshot: &Snapshot,
    peer: &Peer,
    headers: Option<&HeaderMap>,
    event: &mut Event,
    otherwise: impl FnOnce() -> Refusal,
) -> Refusal {
    let address = peer.address.ip();
    event.peer_ip = Some(kt_domain::network::cidr::canonical(address));
    address::check_unserved(snapshot, address, headers, event).err().unwrap_or_else(otherwise)
}

/// One request under way.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) head: Head,
    /// Whose errors the client understands.
    surface: Surface,
    /// The path of the surface that the request is for, in its one form; empty until it is known.
    pub(crate) path: String,
    pub(crate) body: &'a mut dyn Incoming,
    pub(crate) peer: Peer,
    /// The client's address, as the rules see it.
    pub(crate) source: Option<IpAddr>,
    /// The only targets that a policy lets the request go to; `None` means any.
    pub(crate) only: Option<BTreeSet<String>>,
    /// The key that the client showed.
    pub(crate) key: Option<Arc<Key>>,
    /// The rules of the request's path, if it has rules of its own.
    pub(crate) route: Option<Arc<Scope>>,
    /// The rules of the key's group, if it belongs to one.
    pub(crate) group: Option<Arc<Scope>>,
    /// Who is counted for the request, and what each may use.
    pub(crate) concerned: Vec<(Subject, Rates)>,
    pub(crate) request_id: RequestId,
    pub(crate) record: Record,
    place: Option<Place>,
}

/// What the stages let through.
enum Passed {
    /// An answer of the gateway's own, which is not worth an event.
    Local(Reply),
    /// A request to a provider.
    Forward(Forwarded),
}

/// A provider's answer, as far as it is there.
pub(crate) enum Answered {
    Whole(Reply, Usage),
    Stream(Reply, Source),
}

impl<'a> Exchange<'a> {
    fn begin(worker: &'a Arc<Worker>, head: Head, body: &'a mut dyn Incoming, peer: Peer) -> Self {
        let snapshot = worker.shared.snapshot.load_full();
        let (request_id, record) = worker.begin_record(&snapshot);
        Self {
            worker,
            snapshot,
            surface: Surface::of(&head.path),
            path: String::new(),
            head,
            body,
            peer,
            source: None,
            key: None,
            route: None,
            group: None,
            concerned: Vec::new(),
            only: None,
            request_id,
            record,
            place: None,
        }
    }

    /// Settles the address that everything after this point goes by.
    pub(crate) fn settle_source(&mut self, source: Option<IpAddr>) {
        self.source = source;
    }

    /// Puts into the event what is known of every request.
    fn describe(&mut self) {
        let event = self.record.event();
        event.source_ip = self.source;
        event.route = self.route.as_ref().map(|route| Arc::clone(&route.id));
        describe(event, &self.head.method, &self.head.path);
    }

    async fn run(mut self) -> Reply {
        match self.check().await {
            Ok(Passed::Local(mut reply)) => {
                self.record.discard();
                let cors = self.snapshot.cors_of_answer(self.route.as_ref(), &self.head.path);
                dress(&mut reply, cors, &self.head.headers, &self.peer, self.request_id);
                reply
            }
            Ok(Passed::Forward(forwarded)) => {
                let answered = match self.forward(&forwarded).await {
                    Ok(mut answered) => self.judge(&mut answered).await.map(|()| answered),
                    Err(refusal) => Err(refusal),
                };
                self.finish(answered).await
            }
            Err(refusal) => self.finish(Err(refusal)).await,
        }
    }

    /// The stages, in the order that SPEC section 4 gives them.
    async fn check(&mut self) -> Result<Passed, Refusal> {
        address::check(self)?;
        self.record.begin_trace(&self.head.headers, self.peer.address.ip());
        let path = path::normalise(&self.head.path)?.into_owned();
        let path = self.enter_route(path)?;
        if let Some(cors) = self.cors()
            && self.head.method == Method::OPTIONS
        {
            return Ok(Passed::Local(cors.answer_options(&path, &self.head.headers)));
        }
        host::check(self)?;
        if let Some(health) = health::answer(&self.worker.shared, &self.head.method, &path) {
            return health.map(Passed::Local);
        }
        host::check_page(self)?;
        self.describe();
        circle::check(self)?;
        self.check_ready()?;
        let limit = self.size_limits().max_request_body_bytes;
        size_limits::check_declared(self.body, limit)?;
        self.authenticate()?;
        rate_limits::take_request(self).await?;
        self.place = Some(self.worker.shared.take_place()?);
        let route = route::find(&path, &self.head.method)?;
        self.path = path;
        let body = size_limits::take(self.body, limit).await?;
        let body = size_limits::decode(&self.head.headers, body, limit)?;
        let mut summary = self.read_content(route, &body)?;
        self.claim_tokens(route, &mut summary, &body).await?;
        let body = policy_chain::judge_request(self, route, body).await?;
        let is_conversation = route::is_conversation(&self.path);
        let (custom, group) = (self.route.clone(), self.group.clone());
        Ok(Passed::Forward(Forwarded {
            api: route.api,
            is_conversation,
            is_kept: route::is_kept(&self.path) && !summary.leaves_nothing,
            bounds: route::bounds(&self.path),
            summary,
            body,
            route: custom,
            group,
            only: self.only.take(),
        }))
    }

    /// Finds the request's route and keeps to its rules from here on; gives the path of the surface that it is for.
    fn enter_route(&mut self, path: String) -> Result<String, Refusal> {
        let Some(route) = self.snapshot.scopes.route(&path).cloned() else { return Ok(path) };
        self.route = Some(Arc::clone(&route));
        address::check_route(self, &route)?;
        Ok(route.edge.surface(&path).to_owned())
    }

    /// What judges this request.
    pub(crate) fn chain(&self) -> &Arc<Chain> {
        self.snapshot.scopes.chain(self.route.as_ref(), self.group.as_ref())
    }

    /// How large its bodies may be.
    pub(crate) fn size_limits(&self) -> &SizeLimits {
        self.snapshot.limits_of(self.route.as_ref())
    }

    fn cors(&self) -> Option<&CorsRules> {
        self.snapshot.cors_of(self.route.as_ref())
    }

    /// Whether the gateway is to forward anything at all.
    fn check_ready(&self) -> Result<(), Refusal> {
        if self.worker.shared.refuses_new_requests() {
            let message = "This gateway takes no new requests at present. Send the request again: another one takes it.";
            let later = HeaderValue::from_static(DRAINING_RETRY_AFTER);
            return Err(
                Refusal::unavailable(503, "draining", message).with_header(header::RETRY_AFTER, later)
            );
        }
        if !self.snapshot.config.pack.enabled {
            return Err(Refusal::unavailable(
                503,
                "pack_disabled",
                "This gateway's configuration is switched off.",
            ));
        }
        if self.snapshot.refuse_unrecorded && !self.worker.shared.events.is_writable() {
            let message = "Requests cannot be recorded at present, so none is forwarded. Try again later.";
            return Err(Refusal::unavailable(503, "events_unavailable", message));
        }
        Ok(())
    }

    fn authenticate(&mut self) -> Result<(), Refusal> {
        authenticate::check_query(self.head.query.as_deref())?;
        let clock = &*self.worker.shared.clock;
        let found = authenticate::check(&self.snapshot.auth, &self.head.headers, self.source, clock)?;
        let Some(key) = found else { return Ok(()) };
        self.group = self.snapshot.scopes.group(&key.id).cloned();
        let event = self.record.event();
        let named = if key.is_person { &mut event.user_id } else { &mut event.key_id };
        *named = Some(Arc::clone(&key.id));
        event.consumer_group = self.group.as_ref().map(|group| Arc::clone(&group.id));
        self.key = Some(key);
        Ok(())
    }

    fn read_content(&mut self, route: &Route, body: &Bytes) -> Result<Summary, Refusal> {
        let summary = match route.content.required(body) {
            Some(required) if self.head.method == Method::POST => {
                page::check_type(&self.head.headers)?;
                let summary = content::read(body, required, route::bounds(&self.path))?;
                content::declare_json(&mut self.head.headers);
                summary
            }
            None if self.head.method == Method::POST => {
                page::check_site(&self.head.headers, self.cors())?;
                Summary::default()
            }
            _ => Summary::default(),
        };
        let event = self.record.event();
        event.model.clone_from(&summary.model);
        event.stream = Some(summary.stream);
        if let Some(details) = self.record.details() {
            (details.max_tokens, details.temperature) = (summary.max_output, summary.temperature);
        }
        Ok(summary)
    }

    /// Claims what a request may come to use. What an upload will use cannot be told: it passes as long as anything is left.
    async fn claim_tokens(
        &mut self,
        route: &Route,
        summary: &mut Summary,
        body: &Bytes,
    ) -> Result<(), Refusal> {
        if self.head.method != Method::POST {
            return Ok(());
        }
        let mut expected = Expected::default();
        if route.content.required(body).is_some() {
            if summary.max_output.is_none() && !route::bounds(&self.path).is_empty() {
                summary.imposed = self.snapshot.budgets.bound(self, summary.model.as_deref());
            }
            expected = rate_limits::expected(self, summary, body);
            self.record.expect(expected);
        }
        rate_limits::take_tokens(self, summary, expected).await
    }

    /// Has a policy read an answer that is there as a whole; a stream is read on its way.
    async fn judge(&mut self, answered: &mut Answered) -> Result<(), Refusal> {
        match answered {
            Answered::Whole(reply, usage) => {
                self.record.count_tokens(*usage, reply.status, Heard::ToTheEnd);
                policy_chain::judge_answer(self, reply).await
            }
            Answered::Stream(..) => Ok(()),
        }
    }

    /// Records what came of the request and gives the client its answer.
    async fn finish(mut self, outcome: Result<Answered, Refusal>) -> Reply {
        if outcome.is_err() && self.record.event().request_path.is_none() {
            self.describe();
        }
        let most = self.size_limits().max_response_body_bytes;
        let verdict = self.record.event().verdict;
        let mut limits = HeaderMap::new();
        self.record.tell_limits(&mut limits);
        let mut reply = match outcome {
            Err(refusal) => {
                self.record.finish_refused(&refusal).await;
                let mut reply = refusal.into_reply(self.surface, &self.request_id.to_string());
                // What a refusal itself says about limits is the latest.
                limits.extend(std::mem::take(&mut reply.headers));
                reply
            }
            Ok(Answered::Whole(reply, _)) => {
                self.record.finish(reply.status, "ok");
                reply
            }
            Ok(Answered::Stream(mut reply, source)) => {
                let moderator = Moderator::of(&self, Phase::Response);
                let chain = self.snapshot.scopes.chain(self.route.as_ref(), self.group.as_ref());
                let stream = JudgedStream::new(source, reply.status, self.surface, self.record)
                    .described_by(&reply.headers)
                    .judged_by(chain, most)
                    .moderated_by(moderator)
                    .for_as_long_as(self.key.as_ref().and_then(|key| key.life.clone()));
                reply.body = ReplyBody::Stream(Box::new(stream));
                reply
            }
        };
        // A provider's words about its limits are about the gateway's key, not about the client's.
        reply.headers.extend(limits);
        reply.place = self.place;
        if let Some(verdict) = verdict {
            reply.headers.insert(X_KT_POLICY_ACTION, HeaderValue::from_static(verdict.as_str()));
        }
        let cors = self.snapshot.cors_of_answer(self.route.as_ref(), &self.head.path);
        dress(&mut reply, cors, &self.head.headers, &self.peer, self.request_id);
        reply
    }
}

/// Puts on every answer what every answer carries.
fn dress(
    reply: &mut Reply,
    cors: Option<&CorsRules>,
    request: &HeaderMap,
    peer: &Peer,
    request_id: RequestId,
) {
    if peer.is_encrypted {
        reply.headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STAY_WITH_HTTPS));
    }
    if let Ok(value) = HeaderValue::from_str(request_id.encode(&mut [0; 36])) {
        reply.headers.insert(X_KT_REQUEST_ID, value);
    }
    if let Some(cors) = cors {
        cors.decorate(request, &mut reply.headers);
    }
}
