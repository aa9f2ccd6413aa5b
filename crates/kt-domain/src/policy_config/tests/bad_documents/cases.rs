//! The documents, by the part of the configuration that is wrong in them.

/// Texts with the error expected: code, line, column, path, and a part of the suggestion.
pub(super) type Case = (&'static str, (&'static str, u32, u32, &'static str), &'static str);

pub(super) const SYNTAX: &[Case] = &[
    ("cors:\n\tenabled: true\n", ("E004", 2, 2, "cors"), "spaces"),
    ("cors: [1, 2\n", ("E004", 2, 1, "cors"), ""),
    ("a: 1\n---\nb: 2\n", ("E004", 2, 1, ""), "a file of its own"),
    ("cors: &base\n  enabled: true\n", ("E004", 1, 7, "cors"), "write the value out"),
    ("cors: {enabled: &x true}\n", ("E004", 1, 17, "cors.enabled"), "write the value out"),
    ("pack: {name: !!str 5}\n", ("E004", 1, 14, "pack.name"), "quotes"),
    ("? [a]\n: 1\n", ("E004", 1, 3, ""), "quotes"),
    ("cors:\n  enabled: true\n  enabled: false\n", ("E005", 3, 3, "cors.enabled"), "keep one"),
    ("cors: {}\npack: {}\ncors: {}\n", ("E005", 3, 1, "cors"), "keep one"),
];

pub(super) const SHAPE: &[Case] = &[
    ("- a\n", ("E006", 1, 1, ""), ""),
    ("5\n", ("E006", 1, 1, ""), ""),
    ("cros:\n  enabled: true\n", ("E002", 1, 1, "cros"), "did you mean `cors`?"),
    ("cors:\n  allow_origin: []\n", ("E002", 2, 3, "cors.allow_origin"), "did you mean `allow_origins`?"),
    ("cors:\n  allowOrigins: []\n", ("E002", 2, 3, "cors.allowOrigins"), "did you mean `allow_origins`?"),
    ("allow_origins: []\n", ("E002", 1, 1, "allow_origins"), "a key of `cors`"),
    ("pack:\n  cors: {}\n", ("E002", 2, 3, "pack.cors"), "top level"),
    (
        "listener:\n  zzz: 1\n",
        ("E002", 2, 3, "listener.zzz"),
        "its keys are `hosts`, `max_connections` and `proxy_protocol`",
    ),
    ("cors:\n  enabled: yes\n", ("E006", 2, 12, "cors.enabled"), "write `true`"),
    ("cors:\n  enabled: off\n", ("E006", 2, 12, "cors.enabled"), "write `false`"),
    ("cors:\n  enabled: \"true\"\n", ("E006", 2, 12, "cors.enabled"), "without quotes"),
    ("cors:\n  enabled:\n", ("E006", 2, 3, "cors.enabled"), "give it a value"),
    ("cors:\n", ("E006", 1, 1, "cors"), "remove the key"),
    ("cors: true\n", ("E006", 1, 7, "cors"), ""),
    (
        "cors:\n  enabled: true\n  allow_origins: https://a.example\n",
        ("E006", 3, 18, "cors.allow_origins"),
        "[\"https://a.example\"]",
    ),
    (
        "cors:\n  enabled: true\n  allow_methods:\n    - {GET: 1}\n",
        ("E006", 4, 7, "cors.allow_methods[0]"),
        "",
    ),
    ("pack:\n  name: [a]\n", ("E006", 2, 3, "pack.name"), ""),
    ("pack:\n  name: 7\n", ("E006", 2, 9, "pack.name"), "\"7\""),
    (
        "size_limits:\n  max_request_body_bytes: 10MB\n",
        ("E006", 2, 27, "size_limits.max_request_body_bytes"),
        "10485760",
    ),
    (
        "size_limits:\n  max_request_body_bytes: \"5\"\n",
        ("E006", 2, 27, "size_limits.max_request_body_bytes"),
        "write `5`",
    ),
    (
        "size_limits:\n  max_request_body_bytes: 5_242_880\n",
        ("E006", 2, 27, "size_limits.max_request_body_bytes"),
        "5242880",
    ),
    (
        "size_limits:\n  max_request_body_bytes: 0100\n",
        ("E006", 2, 27, "size_limits.max_request_body_bytes"),
        "write `100`",
    ),
    (
        "size_limits:\n  max_request_body_bytes: 1.5\n",
        ("E006", 2, 27, "size_limits.max_request_body_bytes"),
        "",
    ),
    (
        "size_limits:\n  max_request_body_bytes: 0\n",
        ("E007", 2, 27, "size_limits.max_request_body_bytes"),
        "1",
    ),
    (
        "size_limits:\n  max_response_body_bytes: 0\n",
        ("E007", 2, 28, "size_limits.max_response_body_bytes"),
        "1",
    ),
    (
        "size_limits:\n  max_response_body_bytes: 99999999999999999999\n",
        ("E007", 2, 28, "size_limits.max_response_body_bytes"),
        "",
    ),
    ("pack:\n  name: \"\"\n", ("E007", 2, 9, "pack.name"), ""),
    (
        "policy:\n  audit-logger:\n    retention_days: 36501\npolicies: {chain: [audit-logger]}\n",
        ("E007", 3, 21, "policy.audit-logger.retention_days"),
        "36500",
    ),
    ("auth:\n  mode: statik\n", ("E007", 2, 9, "auth.mode"), "did you mean `static`?"),
    ("events:\n  on_failure: ignore\n", ("E007", 2, 15, "events.on_failure"), ""),
    ("timeouts:\n  connect: 5\n", ("E007", 2, 12, "timeouts.connect"), "`5s`"),
    ("timeouts:\n  connect: 0s\n", ("E007", 2, 12, "timeouts.connect"), ""),
    ("retry:\n  max_retries: 11\n", ("E007", 2, 16, "retry.max_retries"), "10"),
    ("retry:\n  on: [connekt]\n", ("E007", 2, 8, "retry.on[0]"), "did you mean `connect`?"),
    ("retry:\n  max_delay: 100ms\n", ("E007", 2, 14, "retry.max_delay"), "as long"),
    (
        "rate_limits:\n  per_key: {requests_per_minute: 0}\n",
        ("E007", 2, 34, "rate_limits.per_key.requests_per_minute"),
        "1",
    ),
    ("rate_limits:\n  on_failure: ignore\n", ("E007", 2, 15, "rate_limits.on_failure"), ""),
    ("mail:\n  transport: smtp\n", ("E002", 1, 1, "mail"), "a key of `keeptrusts.yaml`"),
    ("telemetry:\n  log: {level: debug}\n", ("E002", 2, 3, "telemetry.log"), "a key of `keeptrusts.yaml`"),
    ("pack:\n  mail: {}\n", ("E002", 2, 3, "pack.mail"), "its keys are"),
    ("rate_limits:\n  per_user: {}\n", ("E002", 2, 3, "rate_limits.per_user"), ""),
    ("circuit_breaker:\n  failures: 0\n", ("E007", 2, 13, "circuit_breaker.failures"), "1"),
    ("circuit_breaker:\n  probes: 101\n", ("E007", 2, 11, "circuit_breaker.probes"), "100"),
    ("timeouts:\n  drain: 721h\n", ("E007", 2, 10, "timeouts.drain"), ""),
    (
        "providers:\n  targets:\n    - provider: echo\n",
        ("E008", 3, 7, "providers.targets[0].id"),
        "add `id: …`",
    ),
    (
        "providers:\n  targets:\n    - id: a\n",
        ("E008", 3, 7, "providers.targets[0].provider"),
        "add `provider: …`",
    ),
];

pub(super) const PROVIDERS: &[Case] = &[
    ("pack:\n  version: v1.2\n", ("E015", 2, 12, "pack.version"), "`1.2.0`"),
    ("pack:\n  version: one\n", ("E015", 2, 12, "pack.version"), ""),
    (
        "providers:\n  targets:\n    - id: a\n      provider: openai:gpt-4o\n",
        ("E016", 4, 17, "providers.targets[0].provider"),
        "openai:chat:gpt-4o",
    ),
    (
        "providers:\n  targets:\n    - id: a\n      provider: openai:chat:x\n      model: y\n",
        ("E016", 4, 17, "providers.targets[0].provider"),
        "keep one",
    ),
    (
        "providers:\n  targets:\n    - id: a\n      provider: openai\n      serves: [m]\n",
        ("E016", 5, 7, "providers.targets[0].serves"),
        "vendor:surface:model",
    ),
    (
        "providers:\n  targets:\n    - id: a\n      provider: openai:chat:x\n      serves: [m, m]\n",
        ("E019", 5, 19, "providers.targets[0].serves[1]"),
        "keep one",
    ),
    (
        "providers:\n  targets:\n    - id: a\n      provider: openai\n      api_version: \"2024-10-21\"\n",
        ("E016", 5, 20, "providers.targets[0].api_version"),
        "remove it",
    ),
    (
        "providers:\n  targets:\n    - id: a\n      provider: azure\n      base_url: https://a.example\n      api_version: a/b\n",
        ("E016", 6, 20, "providers.targets[0].api_version"),
        "2024-10-21",
    ),
    (
        "providers:\n  targets:\n    - id: a\n      provider: opnai\n",
        ("E017", 4, 17, "providers.targets[0].provider"),
        "did you mean `openai`?",
    ),
    (
        "providers:\n  targets:\n    - id: a\n      provider: vllm\n",
        ("E017", 4, 17, "providers.targets[0].provider"),
        "base_url",
    ),
    (
        "providers:\n  targets:\n    - id: a\n      provider: azure:chat:m\n",
        ("E017", 4, 17, "providers.targets[0].provider"),
        "base_url",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: vllm, base_url: \"ftp://h/v1\"}\n",
        ("E017", 3, 41, "providers.targets[0].base_url"),
        "https://HOST/v1",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: vllm, base_url: \"https://k:s@h/v1\"}\n",
        ("E017", 3, 41, "providers.targets[0].base_url"),
        "secret_key_ref",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: vllm, base_url: \"https://h/v1?key=s\"}\n",
        ("E017", 3, 41, "providers.targets[0].base_url"),
        "secret_key_ref",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: vllm, base_url: \"https://h/v1#x\"}\n",
        ("E017", 3, 41, "providers.targets[0].base_url"),
        "https://HOST/v1",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: vllm, base_url: \"http://169.254.169.254/latest\"}\n",
        ("E018", 3, 41, "providers.targets[0].base_url"),
        "own address",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: vllm, base_url: \"http://2852039166/\"}\n",
        ("E018", 3, 41, "providers.targets[0].base_url"),
        "",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: vllm, base_url: \"http://[fe80::1]/v1\"}\n",
        ("E018", 3, 41, "providers.targets[0].base_url"),
        "",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: vllm, base_url: \"http://[::ffff:a9fe:a9fe]/v1\"}\n",
        ("E018", 3, 41, "providers.targets[0].base_url"),
        "",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: vllm, base_url: \"http://Metadata.Google.Internal./v1\"}\n",
        ("E018", 3, 41, "providers.targets[0].base_url"),
        "",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: echo}\n    - {id: a, provider: echo}\n",
        ("E019", 4, 12, "providers.targets[1].id"),
        "of its own",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: echo, headers: {Authorization: x}}\n",
        ("E014", 3, 56, "providers.targets[0].headers.Authorization"),
        "secret_key_ref",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: echo, headers: {\"X Y\": x}}\n",
        ("E014", 3, 48, "providers.targets[0].headers.X Y"),
        "without colon",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: echo, headers: {X.Y: \"a\\r\\nb\"}}\n",
        ("E014", 3, 46, "providers.targets[0].headers.X.Y"),
        "one line",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: openai, secret_key_ref: {env: sk-123}}\n",
        ("E025", 3, 55, "providers.targets[0].secret_key_ref.env"),
        "OPENAI_API_KEY",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: openai, secret_key_ref: {env: \"${KEY}\"}}\n",
        ("E025", 3, 55, "providers.targets[0].secret_key_ref.env"),
        "`KEY`",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: openai, secret_key_ref: {}}\n",
        ("E026", 3, 33, "providers.targets[0].secret_key_ref"),
        "add `env: NAME`",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: openai, secret_key_ref: {env: A, stored: a}}\n",
        ("E026", 3, 33, "providers.targets[0].secret_key_ref"),
        "keep one",
    ),
    (
        "providers:\n  targets:\n    - {id: a, provider: openai, secret_key_ref: {stored: openai}}\n",
        ("E027", 3, 58, "providers.targets[0].secret_key_ref.stored"),
        "write `env: NAME`",
    ),
    (
        "policies:\n  chain: [audit-loger]\n",
        ("E001", 2, 11, "policies.chain[0]"),
        "did you mean `audit-logger`?",
    ),
    (
        "policies:\n  chain: [prompt-guard]\n",
        ("E001", 2, 11, "policies.chain[0]"),
        "this version has `audit-logger`",
    ),
    ("policy:\n  audit_logger: {}\n", ("E001", 2, 3, "policy.audit_logger"), "did you mean `audit-logger`?"),
    ("policies:\n  chain: [audit-logger, audit-logger]\n", ("E019", 2, 25, "policies.chain[1]"), "keep one"),
];

pub(super) const ROUTES: &[Case] = &[
    ("routes:\n  - {id: a, path: team-a}\n", ("E030", 2, 19, "routes[0].path"), "`/team-a`"),
    ("routes:\n  - {id: a, path: /a/}\n", ("E030", 2, 19, "routes[0].path"), "`/team-a`"),
    ("routes:\n  - {id: a, path: /a/../b}\n", ("E030", 2, 19, "routes[0].path"), "`/team-a`"),
    ("routes:\n  - {id: a, path: /healthz}\n", ("E030", 2, 19, "routes[0].path"), "another path"),
    (
        "routes:\n  - {id: a, path: /a}\n  - {id: a, path: /b}\n",
        ("E019", 3, 10, "routes[1].id"),
        "a name of its own",
    ),
    (
        "routes:\n  - {id: a, path: /a, targets: [x]}\n",
        ("E031", 2, 33, "routes[0].targets[0]"),
        "providers.targets",
    ),
    (
        "routes:\n  - {id: a, path: /a, allow: [10.0.0.1/8]}\n",
        ("E009", 2, 31, "routes[0].allow[0]"),
        "10.0.0.0/8",
    ),
    (
        "routes:\n  - {id: a, path: /a, allow_origins: [\"https://a.example\"]}\n",
        ("E030", 2, 23, "routes[0].allow_origins"),
        "cors",
    ),
    (
        "routes:\n  - {id: a, path: /a, policies: {chain: [nothing]}}\n",
        ("E001", 2, 42, "routes[0].policies.chain[0]"),
        "audit-logger",
    ),
    ("consumer_groups:\n  - {id: a, keys: [k]}\n", ("E031", 1, 1, "consumer_groups"), "mode: static"),
    (
        "policies: {chain: [pii-detector, data-routing-policy]}\npolicy:\n  data-routing-policy: {rules: [{name: r, data: [crd], models: [m]}]}\n",
        ("E031", 3, 50, "policy.data-routing-policy.rules[0].data[0]"),
        "did you mean `card`?",
    ),
    (
        "policies: {chain: [pii-detector, data-routing-policy]}\npolicy:\n  data-routing-policy: {rules: [{name: r, data: [card, national-id], models: [m]}]}\n",
        ("E031", 3, 56, "policy.data-routing-policy.rules[0].data[1]"),
        "`us-ssn`",
    ),
    (
        "auth: {mode: static, keys: [{id: trainee, sha256: \"0000000000000000000000000000000000000000000000000000000000000000\"}]}\npolicies: {chain: [data-routing-policy]}\npolicy:\n  data-routing-policy: {rules: [{name: r, keys: [trainees], models: [m]}]}\n",
        ("E031", 4, 50, "policy.data-routing-policy.rules[0].keys[0]"),
        "did you mean `trainee`?",
    ),
];

pub(super) const EDGE: &[Case] = &[
    (
        "cors:\n  enabled: true\n  allow_origins: [\"*\"]\n  allow_credentials: true\n",
        ("E011", 4, 22, "cors.allow_credentials"),
        "list the exact origins",
    ),
    (
        "cors:\n  enabled: false\n  allow_origins: [\"*\"]\n  allow_credentials: true\n",
        ("E011", 4, 22, "cors.allow_credentials"),
        "allow_credentials: false",
    ),
    (
        "cors:\n  enabled: true\n  expose_headers: [\"*\"]\n  allow_credentials: true\n",
        ("E011", 3, 20, "cors.expose_headers[0]"),
        "list the headers",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [\"https://a.example\", \"*\"]\n",
        ("E012", 3, 40, "cors.allow_origins[1]"),
        "remove `*`",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [\"https://a.example/\"]\n",
        ("E010", 3, 19, "cors.allow_origins[0]"),
        "`https://a.example`",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [\"https://a.example/app\"]\n",
        ("E010", 3, 19, "cors.allow_origins[0]"),
        "`https://a.example`",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [\"https://A.example\"]\n",
        ("E010", 3, 19, "cors.allow_origins[0]"),
        "`https://a.example`",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [\"https://a.example:443\"]\n",
        ("E010", 3, 19, "cors.allow_origins[0]"),
        "`https://a.example`",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [\"https://u@a.example\"]\n",
        ("E010", 3, 19, "cors.allow_origins[0]"),
        "`https://a.example`",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [\"https://bücher.example\"]\n",
        ("E010", 3, 19, "cors.allow_origins[0]"),
        "`https://xn--bcher-kva.example`",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [\"https://*.example.com\"]\n",
        ("E010", 3, 19, "cors.allow_origins[0]"),
        "each host by itself",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [app.example.com]\n",
        ("E010", 3, 19, "cors.allow_origins[0]"),
        "`https://app.example.com`",
    ),
    (
        "cors:\n  enabled: true\n  allow_origins: [\"localhost:3000\"]\n",
        ("E010", 3, 19, "cors.allow_origins[0]"),
        "`https://localhost:3000`",
    ),
    ("cors:\n  enabled: true\n  allow_origins: [\"\"]\n", ("E010", 3, 19, "cors.allow_origins[0]"), ""),
    (
        "cors:\n  enabled: true\n  allow_methods: [\"GET, POST\"]\n",
        ("E013", 3, 19, "cors.allow_methods[0]"),
        "one method",
    ),
    ("cors:\n  enabled: true\n  allow_methods: [post]\n", ("E013", 3, 19, "cors.allow_methods[0]"), "`POST`"),
    ("cors:\n  enabled: true\n  allow_methods: [\"*\"]\n", ("E013", 3, 19, "cors.allow_methods[0]"), "GET"),
    (
        "cors:\n  enabled: true\n  allow_headers: [\"X-A: b\"]\n",
        ("E013", 3, 19, "cors.allow_headers[0]"),
        "one name",
    ),
    (
        "cors:\n  enabled: true\n  expose_headers: [\"X-A,X-B\"]\n",
        ("E013", 3, 20, "cors.expose_headers[0]"),
        "one name",
    ),
    (
        "ip_allowlist:\n  enabled: true\n  allow: [10.0.0.1/8]\n",
        ("E009", 3, 11, "ip_allowlist.allow[0]"),
        "`10.0.0.0/8` or `10.0.0.1/32`",
    ),
    (
        "ip_allowlist:\n  enabled: true\n  allow: [10.0.0.0/33]\n",
        ("E009", 3, 11, "ip_allowlist.allow[0]"),
        "",
    ),
    (
        "ip_allowlist:\n  enabled: true\n  allow: [010.0.0.0/8]\n",
        ("E009", 3, 11, "ip_allowlist.allow[0]"),
        "",
    ),
    (
        "ip_allowlist:\n  enabled: true\n  allow: [\"::1/128\"]\n  deny: [\"fe80::%eth0/64\"]\n",
        ("E009", 4, 10, "ip_allowlist.deny[0]"),
        "",
    ),
    ("ip_allowlist:\n  enabled: true\n  allow: [10/8]\n", ("E009", 3, 11, "ip_allowlist.allow[0]"), ""),
    (
        "ip_allowlist:\n  trust_proxy_headers: true\n  trusted_proxies: [lb]\n",
        ("E009", 3, 21, "ip_allowlist.trusted_proxies[0]"),
        "",
    ),
    (
        "ip_allowlist:\n  trust_proxy_headers: true\n  ip_header: X_Real_IP\n",
        ("E013", 3, 14, "ip_allowlist.ip_header"),
        "`X-Real-IP`",
    ),
    (
        "ip_allowlist:\n  trust_proxy_headers: true\n  ip_header: \"X Y\"\n",
        ("E013", 3, 14, "ip_allowlist.ip_header"),
        "",
    ),
    (
        "ip_allowlist:\n  trust_proxy_headers: true\n  trusted_hops: 0\n",
        ("E007", 3, 17, "ip_allowlist.trusted_hops"),
        "1",
    ),
    ("listener:\n  proxy_protocol: true\n", ("E024", 2, 19, "listener.proxy_protocol"), "trusted_proxies"),
    (
        "listener:\n  hosts: [\"https://a.example\"]\n",
        ("E023", 2, 11, "listener.hosts[0]"),
        "gateway.example.com",
    ),
    ("listener:\n  hosts: [\"a.example:0\"]\n", ("E023", 2, 11, "listener.hosts[0]"), ""),
    ("listener:\n  hosts: [\"::1\"]\n", ("E023", 2, 11, "listener.hosts[0]"), "[2001:db8::1]"),
    ("listener:\n  max_connections: 0\n", ("E007", 2, 20, "listener.max_connections"), "1"),
    ("auth:\n  mode: static\n", ("E020", 2, 9, "auth.mode"), "add a key"),
    ("auth:\n  mode: access_keys\n", ("E022", 2, 9, "auth.mode"), "mode: static"),
    (
        "auth:\n  keys:\n    - {id: a, secret_key_ref: {env: K}}\n",
        ("E020", 2, 3, "auth.keys"),
        "mode: static",
    ),
    ("auth:\n  mode: static\n  keys:\n    - id: a\n", ("E021", 4, 7, "auth.keys[0]"), "sha256sum"),
    (
        "auth:\n  mode: static\n  keys:\n    - {id: a, secret_key_ref: {env: K}, sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}\n",
        ("E021", 4, 7, "auth.keys[0]"),
        "keep one",
    ),
    (
        "auth:\n  mode: static\n  keys:\n    - {id: a, sha256: my-secret-key}\n",
        ("E007", 4, 23, "auth.keys[0].sha256"),
        "sha256sum",
    ),
    (
        "auth:\n  mode: static\n  keys:\n    - {id: a, secret_key_ref: {env: K}, allowed_ranges: [10.0.0.0/99]}\n",
        ("E009", 4, 58, "auth.keys[0].allowed_ranges[0]"),
        "",
    ),
    (
        "auth:\n  mode: static\n  keys:\n    - {id: a, secret_key_ref: {env: K}}\n    - {id: a, secret_key_ref: {env: L}}\n",
        ("E019", 5, 12, "auth.keys[1].id"),
        "of its own",
    ),
];
