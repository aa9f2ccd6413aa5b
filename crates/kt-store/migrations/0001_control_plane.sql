-- What the control plane keeps. The same text runs on SQLite and on PostgreSQL.
--
-- Times are microseconds since 1970-01-01T00:00:00Z. Digests are SHA-256 in lower-case hexadecimal. Identifiers carry
-- their kind (`usr_…`). Documents are JSON text that is loaded and stored whole, never queried.

-- Doors that close once and never open again, such as the first set-up.
CREATE TABLE latches (
    name TEXT PRIMARY KEY,
    closed_at BIGINT NOT NULL
);

-- Moves on with every change of who may do what, in the same transaction: what a process remembers holds for one number.
CREATE TABLE revision (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    number BIGINT NOT NULL
);
INSERT INTO revision (id, number) VALUES (1, 0);

CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    identifier TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- One row for each document of settings; `version` makes a lost update visible.
CREATE TABLE organization_settings (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    value TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, name)
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL UNIQUE,
    email_verified_at BIGINT,
    name TEXT NOT NULL,
    password_hash TEXT,
    password_set_at BIGINT,
    -- Set for a password that an administrator gave out: it is good until then and must be replaced.
    password_temporary_until BIGINT,
    -- The password breaks the policy that has been in force since.
    password_breaks_policy BOOLEAN NOT NULL,
    -- Everything issued under an older epoch is dead: sessions, refresh tokens, links, steps of a sign-in.
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE password_history (
    user_id TEXT NOT NULL REFERENCES users (id),
    set_at BIGINT NOT NULL,
    password_hash TEXT NOT NULL,
    PRIMARY KEY (user_id, set_at)
);

-- Authenticator apps: at most one for each person.
CREATE TABLE totp_secrets (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    sealed TEXT NOT NULL,
    -- The last time step whose code was used; it and all before it are good no more.
    used_step BIGINT NOT NULL,
    added_at BIGINT NOT NULL,
    used_at BIGINT
);

-- `credential` is JSON: the public key, the counter, and what else an authenticator has said of it.
CREATE TABLE passkeys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    credential_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    credential TEXT NOT NULL,
    aaguid TEXT NOT NULL,
    backed_up BOOLEAN NOT NULL,
    added_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX passkeys_by_user ON passkeys (user_id);

CREATE TABLE memberships (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    role TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Whether it was the identity provider that suspended this member, which may then let them in again.
    suspended_by_provider BOOLEAN NOT NULL DEFAULT FALSE,
    -- Since when the organization has asked this member for a second factor.
    mfa_asked_since BIGINT,
    created_at BIGINT NOT NULL,
    last_sign_in_at BIGINT,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX memberships_by_user ON memberships (user_id);
CREATE INDEX memberships_as_they_joined ON memberships (organization_id, created_at, user_id);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    epoch BIGINT NOT NULL,
    -- Through which door it was made: `api`, `console` or `cli`.
    door TEXT NOT NULL,
    -- The proofs that were given, in order, as JSON.
    proofs TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    authenticated_at BIGINT NOT NULL,
    -- The holder's last act, written at most once a minute.
    active_at BIGINT NOT NULL,
    ip TEXT,
    -- From where its holder's last act came.
    active_ip TEXT,
    user_agent TEXT,
    ended_at BIGINT
);
CREATE INDEX sessions_by_user ON sessions (user_id, ended_at);
CREATE INDEX sessions_by_organization ON sessions (organization_id, ended_at, active_at);

-- What a browser holds of a session of the console. A session has one at a time: another takes its place at each step-up.
CREATE TABLE console_cookies (
    digest TEXT PRIMARY KEY,
    session_id TEXT NOT NULL UNIQUE REFERENCES sessions (id),
    created_at BIGINT NOT NULL
);

CREATE TABLE refresh_tokens (
    digest TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id),
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

-- Links, steps and codes that work once. `consumed_at` is set by the one statement that consumes.
CREATE TABLE one_time_tokens (
    digest TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    -- Whom or what it is about: a user, an invitation, an address.
    subject TEXT NOT NULL,
    -- The epoch of the user that it is about, when it is about one.
    epoch BIGINT,
    -- What it carries, as JSON.
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    consumed_at BIGINT
);
CREATE INDEX one_time_tokens_by_subject ON one_time_tokens (purpose, subject);
CREATE INDEX one_time_tokens_by_expiry ON one_time_tokens (expires_at);

-- Things from elsewhere that may be used once (a TOTP step, an assertion's id): the first insert wins.
CREATE TABLE consumed (
    scope TEXT NOT NULL,
    value TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (scope, value)
);
CREATE INDEX consumed_by_expiry ON consumed (expires_at);

-- Requests that are carried out once however often they are sent: the first insert wins.
CREATE TABLE once_requests (
    -- Of the caller, the address and the word that the caller has chosen.
    digest TEXT PRIMARY KEY,
    -- Of the rest of the request.
    fingerprint TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- What was answered, sealed: it may hold the text of a key. None until that is known.
    answer TEXT
);
CREATE INDEX once_requests_by_expiry ON once_requests (expires_at);

-- How often something happened in a window of time.
CREATE TABLE counters (
    key TEXT PRIMARY KEY,
    count BIGINT NOT NULL,
    -- The count starts anew after this.
    expires_at BIGINT NOT NULL
);
CREATE INDEX counters_by_expiry ON counters (expires_at);

-- Devices that have signed in to an account, by the digest of a secret that they keep.
CREATE TABLE known_devices (
    user_id TEXT NOT NULL REFERENCES users (id),
    digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, digest)
);

CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL,
    role TEXT NOT NULL,
    invited_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    accepted_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX invitations_by_organization ON invitations (organization_id, email_folded);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    scope TEXT,
    owner_id TEXT NOT NULL REFERENCES users (id),
    -- CIDR ranges as a JSON array; empty means anywhere.
    ip_ranges TEXT NOT NULL,
    requests_per_minute BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    last_used_ip TEXT,
    -- It stops at this moment: revoked, or at the end of the overlap after a rotation.
    ends_at BIGINT,
    replaced_by TEXT,
    -- Since when it breaks the organization's restrictions.
    flagged_at BIGINT
);
CREATE INDEX api_keys_by_organization ON api_keys (organization_id, created_at, id);

-- Signing keys of access tokens; the private part is sealed.
CREATE TABLE jwt_keys (
    kid TEXT PRIMARY KEY,
    public_key TEXT NOT NULL,
    private_key_sealed TEXT,
    created_at BIGINT NOT NULL,
    -- From when it signs: published before it is used.
    signs_from BIGINT NOT NULL,
    retires_at BIGINT
);

-- The end of each organization's audit chain. Updated in the transaction that appends, which orders the writers.
CREATE TABLE audit_heads (
    organization_id TEXT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);

CREATE TABLE audit_records (
    organization_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    recorded_at BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    resource TEXT NOT NULL,
    outcome TEXT NOT NULL,
    -- How much of what it tells it stands for: a flood is told together.
    stands_for BIGINT NOT NULL,
    -- The canonical JSON that the hash is taken over.
    body TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (organization_id, seq)
);
CREATE INDEX audit_records_by_time ON audit_records (organization_id, recorded_at);
CREATE INDEX audit_records_by_action_and_time
    ON audit_records (organization_id, action, outcome, recorded_at, stands_for);
-- Each answers one filter, the newest first, however many records there are.
CREATE INDEX audit_records_by_action ON audit_records (organization_id, action, seq);
CREATE INDEX audit_records_by_actor ON audit_records (organization_id, actor_id, seq);
CREATE INDEX audit_records_by_actor_name ON audit_records (organization_id, actor_name, seq);
CREATE INDEX audit_records_by_resource ON audit_records (organization_id, resource, seq);
CREATE INDEX audit_records_by_outcome ON audit_records (organization_id, outcome, seq);

-- Signed statements about all before them. Entries of the same chains, with numbers of their own in them.
CREATE TABLE audit_checkpoints (
    organization_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    signed_at BIGINT NOT NULL,
    -- The canonical JSON that the hash is taken over.
    body TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (organization_id, seq)
);

-- The one key that signs checkpoints; the private part is sealed.
CREATE TABLE audit_signing_key (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    public_key TEXT NOT NULL,
    private_key_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- How far each sink outside has each chain. Leased by whoever sends: until `due_at` nobody else does.
CREATE TABLE audit_deliveries (
    sink TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    -- The last entry that the sink has taken; 0 for none.
    seq BIGINT NOT NULL,
    -- How often the entries behind it were tried.
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    -- Why the last try failed.
    reason TEXT,
    PRIMARY KEY (sink, organization_id)
);

-- Mail that waits to be sent, sealed: it may hold a one-time link. Sent mail is deleted; what cannot be sent stays,
-- without its words.
CREATE TABLE mail_queue (
    id TEXT PRIMARY KEY,
    organization_id TEXT,
    kind TEXT NOT NULL,
    -- Nobody, where the address has no account: the row is there so that such a request costs the same.
    recipient TEXT,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    -- Not before this: the next try, or the end of the lease of whoever tries now.
    due_at BIGINT NOT NULL,
    failed_at BIGINT,
    reason TEXT
);
CREATE INDEX mail_queue_by_due ON mail_queue (failed_at, due_at);

-- What an organization's posture was, once a day; `day` is a date such as 2026-03-15, UTC.
CREATE TABLE posture_snapshots (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    day TEXT NOT NULL,
    figures TEXT NOT NULL,
    PRIMARY KEY (organization_id, day)
);

-- The event logs that gateways deliver, as far as they have come. Updated in the transaction that appends, which orders
-- the writers.
CREATE TABLE event_chains (
    organization_id TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    public_key TEXT NOT NULL,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (organization_id, gateway_id)
);

-- Each index answers one question, the newest first, however many events there are.
CREATE TABLE events (
    organization_id TEXT NOT NULL,
    id TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    -- Its place in the gateway's chain, if it was delivered as an entry of one.
    seq BIGINT,
    hash TEXT,
    occurred_at BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    source_ip TEXT,
    request_id TEXT,
    verdict TEXT,
    -- The canonical JSON that the hash is taken over.
    body TEXT NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX events_by_place ON events (organization_id, gateway_id, seq);
CREATE INDEX events_without_place ON events (organization_id, occurred_at) WHERE seq IS NULL;
CREATE INDEX events_by_time ON events (organization_id, occurred_at, id);
CREATE INDEX events_by_type ON events (organization_id, event_type, occurred_at, id);
CREATE INDEX events_by_source ON events (organization_id, source_ip, occurred_at, id);
CREATE INDEX events_by_request ON events (organization_id, request_id, occurred_at, id);
CREATE INDEX events_by_verdict ON events (organization_id, verdict, occurred_at, id);
CREATE INDEX events_by_gateway ON events (organization_id, gateway_id, occurred_at, id);

-- The other entries of the same chains: where segments begin, how far they were signed, what gateways removed.
CREATE TABLE event_statements (
    organization_id TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (organization_id, gateway_id, seq)
);
CREATE INDEX event_statements_by_kind ON event_statements (organization_id, gateway_id, kind, seq);

-- Events in figures, so that nobody has to read them all for a chart: what the events of an hour add up to. `hour` counts
-- from 1970; `bucket` tells durations apart and is 0 for all else.
CREATE TABLE event_counts (
    organization_id TEXT NOT NULL,
    hour BIGINT NOT NULL,
    gateway_id TEXT NOT NULL,
    measure TEXT NOT NULL,
    bucket BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (organization_id, hour, gateway_id, measure, bucket)
);
CREATE INDEX event_counts_by_hour ON event_counts (hour);

-- The gateways that have reported, by the names that they gave themselves: two organizations may have the same.
CREATE TABLE gateways (
    id TEXT NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    key_id TEXT,
    software_version TEXT NOT NULL,
    config_version TEXT NOT NULL,
    -- Where it is reached, and the places that it forwards to as a document.
    address TEXT,
    targets TEXT NOT NULL,
    -- `file` or `kept`
    config_source TEXT NOT NULL,
    -- The version that it was told to run and could not, with the reason, as JSON.
    refused TEXT,
    is_draining BOOLEAN NOT NULL,
    -- Whether it counts limits and budgets in a Redis or Valkey with others.
    shares_counts BOOLEAN NOT NULL,
    ip TEXT,
    enrolled_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id)
);

-- What people ask models in the console, and what was answered. It belongs to one person in one organization.
CREATE TABLE conversations (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    title TEXT NOT NULL,
    model TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX conversations_by_user ON conversations (organization_id, user_id, updated_at, id);

-- A question with its answer. `attempt` grows with each try to answer it: who answers writes under their own number.
CREATE TABLE conversation_turns (
    id TEXT PRIMARY KEY,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    question TEXT NOT NULL,
    model TEXT NOT NULL,
    answer TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    -- Until when whoever answers is believed to.
    held_until BIGINT NOT NULL,
    request_id TEXT,
    refusal TEXT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    duration_ms BIGINT,
    asked_at BIGINT NOT NULL
);
CREATE INDEX conversation_turns_by_conversation ON conversation_turns (conversation_id, id);

-- Prompts that somebody has kept, to be run with other inputs again and again.
CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    prompt TEXT NOT NULL,
    model TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX tasks_by_user ON tasks (organization_id, user_id, updated_at, id);

-- Runs of them, each with the prompt as it was filled in. `attempt` is the number of the lease under which a server works
-- on it: what is written under an earlier one changes nothing.
CREATE TABLE task_runs (
    id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    organization_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    prompt TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    -- Under how many of these leases a model may have been asked.
    asked BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    answer TEXT NOT NULL,
    request_id TEXT,
    refusal TEXT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    duration_ms BIGINT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX task_runs_by_task ON task_runs (task_id, id);
CREATE INDEX task_runs_waiting ON task_runs (leased_until, id) WHERE state IN ('queued', 'running');

-- Members who have nothing to work with and ask administrators to set it up; one open request each.
CREATE TABLE setup_requests (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    note TEXT,
    created_at BIGINT NOT NULL,
    closed_at BIGINT,
    closed_by TEXT
);
CREATE UNIQUE INDEX setup_requests_open ON setup_requests (organization_id, user_id) WHERE closed_at IS NULL;
CREATE INDEX setup_requests_by_organization ON setup_requests (organization_id, closed_at, id);

-- Usage in figures: what the requests of a day used, told apart by who answers for the key, the key, the model and the
-- currency; '' where there is none. `day` counts from 1970.
CREATE TABLE usage_counts (
    organization_id TEXT NOT NULL,
    day BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    currency TEXT NOT NULL,
    requests BIGINT NOT NULL,
    estimated BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost_micros BIGINT NOT NULL,
    PRIMARY KEY (organization_id, day, user_id, key_id, model, currency)
);
CREATE INDEX usage_counts_by_user ON usage_counts (organization_id, user_id, day);
CREATE INDEX usage_counts_by_day ON usage_counts (day);

-- What gateways can be told to run, and which of it they are told.

-- A version is never changed; a configuration is all versions of one name.
CREATE TABLE configuration_versions (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    number BIGINT NOT NULL,
    body TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    author TEXT NOT NULL,
    note TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, name, number)
);

-- Providers' keys, sealed.
CREATE TABLE provider_credentials (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    replaced_at BIGINT,
    PRIMARY KEY (organization_id, name)
);

-- What one gateway is told besides what all are. A gateway without a row is told what all are.
CREATE TABLE gateway_orders (
    organization_id TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    -- NAME@NUMBER
    configuration TEXT,
    is_drained BOOLEAN NOT NULL,
    PRIMARY KEY (organization_id, gateway_id),
    FOREIGN KEY (organization_id, gateway_id) REFERENCES gateways (organization_id, id)
);

-- What gateways tell of a configuration that comes from their own files, for people to look at: the latest alone.
CREATE TABLE gateway_configurations (
    organization_id TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    config_version TEXT NOT NULL,
    -- JSON; absent where it is too long to be told.
    document TEXT,
    PRIMARY KEY (organization_id, gateway_id),
    FOREIGN KEY (organization_id, gateway_id) REFERENCES gateways (organization_id, id)
);

-- An organization's identity providers: at most one for each protocol, and at most one that is turned on.
CREATE TABLE identity_providers (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    protocol TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    -- Counts up with every change: what was begun under another one is good no more.
    version BIGINT NOT NULL,
    -- What both protocols share, and what only this one needs.
    settings TEXT NOT NULL,
    details TEXT NOT NULL,
    -- The client secret, or the key of a service provider.
    secret_sealed TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- When somebody last came through it.
    used_at BIGINT,
    -- Which part of what it publishes cannot be had, since when and why.
    problem TEXT
);
CREATE UNIQUE INDEX identity_providers_by_protocol ON identity_providers (organization_id, protocol);
CREATE UNIQUE INDEX identity_providers_enabled ON identity_providers (organization_id) WHERE enabled;

-- Whose account somebody is that a provider names. `source` is a provider, or `google`.
CREATE TABLE external_identities (
    source TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    linked_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (source, issuer, subject)
);
CREATE INDEX external_identities_by_user ON external_identities (user_id);

-- The domains of mail addresses that organizations claim, and whether they have shown them to be theirs.
CREATE TABLE organization_domains (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    domain TEXT NOT NULL,
    -- What the TXT record has to hold; no secret.
    challenge TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    verified_at BIGINT,
    -- By what it was shown: `dns`, whose record is looked for again, or `operator`.
    verified_by TEXT,
    -- When its record was last looked for, and since when it is gone.
    looked_at BIGINT,
    missing_since BIGINT,
    PRIMARY KEY (organization_id, domain)
);
CREATE UNIQUE INDEX verified_domains ON organization_domains (domain) WHERE verified_at IS NOT NULL;

-- Through which provider a session was opened, and what that calls it. No row for any other session.
CREATE TABLE federated_sessions (
    session_id TEXT PRIMARY KEY REFERENCES sessions (id),
    source TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    provider_session TEXT,
    -- When it must end, however active its holder is.
    ends_by BIGINT
);
CREATE INDEX federated_sessions_by_subject ON federated_sessions (source, subject);

-- What an identity provider has said of members by SCIM.
CREATE TABLE scim_users (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    external_id TEXT,
    names TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE UNIQUE INDEX scim_users_by_external_id ON scim_users (organization_id, external_id);

-- Its groups, by which roles are given, and who is in them.
CREATE TABLE scim_groups (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    display_name TEXT NOT NULL,
    -- Names are the same in any capitals.
    name_folded TEXT NOT NULL,
    external_id TEXT,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX scim_groups_by_name ON scim_groups (organization_id, name_folded);
CREATE UNIQUE INDEX scim_groups_by_external_id ON scim_groups (organization_id, external_id);

CREATE TABLE scim_group_members (
    group_id TEXT NOT NULL REFERENCES scim_groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX scim_group_members_by_user ON scim_group_members (user_id);
