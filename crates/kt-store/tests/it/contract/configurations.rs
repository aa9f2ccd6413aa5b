use kt_domain::configurations::{ConfigurationSource, KeptName, VersionId};
use kt_domain::gateways::ShownConfiguration;
use kt_domain::id::OrganizationId;
use kt_domain::secret::SecretDigest;
use kt_store::configurations::{self, ConfigurationVersion};
use kt_store::gateways::{self, Gateway, OwnOrders};
use kt_store::{Store, StoreError, provider_credentials};
use serde_json::json;

use super::{minutes, now, on_both, organization};

fn name(text: &str) -> KeptName {
    text.parse().unwrap()
}

fn id(text: &str) -> VersionId {
    text.parse().unwrap()
}

async fn save(store: &Store, organization: &OrganizationId, version: &str) -> Result<(), StoreError> {
    let text = format!("the text of {version}");
    let version = ConfigurationVersion {
        id: id(version),
        sha256: SecretDigest::of(&text).to_string(),
        author: "jo@example.com".into(),
        note: "why".into(),
        created_at: now(),
    };
    let tx = store.begin_write().await?;
    configurations::insert(&tx, organization, &version, &text).await?;
    tx.commit().await
}

async fn enrol(store: &Store, organization: &OrganizationId, id: &str) {
    let gateway = Gateway {
        id: id.into(),
        organization: organization.clone(),
        key: None,
        software_version: "0.1.0".into(),
        config_version: "none".into(),
        config_source: ConfigurationSource::Kept,
        refused: None,
        is_draining: false,
        shares_counts: false,
        address: None,
        targets: Vec::new(),
        ip: None,
        enrolled_at: now(),
        seen_at: now(),
    };
    let tx = store.begin_write().await.unwrap();
    gateways::insert(&tx, &gateway).await.unwrap();
    tx.commit().await.unwrap();
}

async fn order(
    store: &Store,
    organization: &OrganizationId,
    gateway: &str,
    configuration: Option<&str>,
    is_drained: bool,
) {
    let tx = store.begin_write().await.unwrap();
    let orders = OwnOrders { configuration: configuration.map(id), is_drained };
    gateways::order(&tx, organization, gateway, &orders).await.unwrap();
    tx.commit().await.unwrap();
}

on_both! {
    a_version_is_added_once_and_found_by_its_name_and_number(store) {
        let (one, other) = (organization(&store, "one").await, organization(&store, "other").await);
        for version in ["main@1", "main@2", "main@10", "edge@1"] {
            save(&store, &one, version).await.unwrap();
        }
        assert!(matches!(save(&store, &one, "main@2").await, Err(StoreError::Exists)));
        save(&store, &other, "main@1").await.unwrap();
        let newest = configurations::newest(&store, &one, None, 10).await.unwrap();
        let newest: Vec<_> = newest.iter().map(|version| version.id.to_string()).collect();
        assert_eq!(newest, ["edge@1", "main@10"], "numbers are no texts");
        let behind = configurations::newest(&store, &one, Some("edge"), 10).await.unwrap();
        assert_eq!(behind.len(), 1);
        let page = configurations::page(&store, &one, &name("main"), Some(10), 1).await.unwrap();
        assert_eq!(page[0].id, id("main@2"));
        let (found, text) = configurations::find(&store, &one, &id("main@2")).await.unwrap().unwrap();
        assert_eq!((found.id, &*text), (id("main@2"), "the text of main@2"));
        assert_eq!(configurations::find(&store, &other, &id("main@2")).await.unwrap(), None);
        assert_eq!(configurations::newest_of(&store, &other, &name("edge")).await.unwrap(), None);
    }

    in_service_is_who_came_lately_and_takes_requests(store) {
        let (one, other) = (organization(&store, "acme").await, organization(&store, "other").await);
        for (organization, id) in [(&one, "gw_a"), (&one, "gw_b"), (&one, "gw_c"), (&other, "gw_d")] {
            enrol(&store, organization, id).await;
        }
        let in_service = async |silent_since| {
            let found = gateways::in_service(&store, &one, silent_since).await.unwrap();
            found.into_iter().map(|gateway| gateway.id).collect::<Vec<_>>()
        };
        assert_eq!(in_service(now() - minutes(1)).await, ["gw_a", "gw_b", "gw_c"]);
        assert!(in_service(now()).await.is_empty(), "they have been silent since");
        order(&store, &one, "gw_a", None, true).await;
        order(&store, &one, "gw_b", Some("main@1"), false).await;
        let drains = gateways::find(&store, &one, "gw_c").await.unwrap().unwrap();
        let tx = store.begin_write().await.unwrap();
        gateways::update(&tx, &Gateway { is_draining: true, ..drains }).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(in_service(now() - minutes(1)).await, ["gw_b"]);
    }

    a_gateway_is_told_its_own_until_all_are_told_again(store) {
        let (one, other) = (organization(&store, "one").await, organization(&store, "other").await);
        enrol(&store, &one, "gw_one").await;
        enrol(&store, &other, "gw_other").await;
        enrol(&store, &other, "gw_one").await;
        assert_eq!(gateways::orders(&store, &one, "gw_one").await.unwrap(), OwnOrders::default());
        order(&store, &one, "gw_one", Some("main@1"), true).await;
        order(&store, &other, "gw_other", Some("main@1"), false).await;
        let listed = gateways::one(&store, &one, "gw_one").await.unwrap().unwrap();
        assert_eq!(listed.orders, OwnOrders { configuration: Some(id("main@1")), is_drained: true });
        assert_eq!(gateways::one(&store, &one, "gw_other").await.unwrap(), None);
        let namesake = gateways::one(&store, &other, "gw_one").await.unwrap().unwrap();
        assert_eq!(namesake.orders, OwnOrders::default(), "a name is an organization's own");
        assert_eq!(gateways::own_configurations(&store, &one).await.unwrap(), [id("main@1")]);
        let tx = store.begin_write().await.unwrap();
        gateways::forget_own_configurations(&tx, &one).await.unwrap();
        tx.commit().await.unwrap();
        let left = gateways::orders(&store, &one, "gw_one").await.unwrap();
        assert_eq!(left, OwnOrders { configuration: None, is_drained: true }, "drained it stays");
        assert_eq!(gateways::own_configurations(&store, &other).await.unwrap(), [id("main@1")]);
        let tx = store.begin_write().await.unwrap();
        gateways::delete(&tx, &one, "gw_one").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(gateways::find(&store, &one, "gw_one").await.unwrap(), None);
        assert_eq!(gateways::orders(&store, &one, "gw_one").await.unwrap(), OwnOrders::default());
        assert!(gateways::find(&store, &other, "gw_one").await.unwrap().is_some());
    }

    of_a_gateways_own_configuration_the_latest_is_kept_and_goes_with_it(store) {
        let (one, other) = (organization(&store, "one").await, organization(&store, "other").await);
        for organization in [&one, &other] {
            enrol(&store, organization, "gw_one").await;
        }
        let told = |version: &str, document| ShownConfiguration { version: version.into(), document };
        let (first, second) = (told("aaa", Some(json!({ "pack": { "name": "one" } }))), told("bbb", None));
        for (told, before) in [(&first, "bbb"), (&second, "aaa")] {
            let tx = store.begin_write().await.unwrap();
            gateways::keep_configuration(&tx, &one, "gw_one", told).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(gateways::configuration(&store, &one, "gw_one").await.unwrap().as_ref(), Some(told));
            assert!(gateways::knows_configuration(&store, &one, "gw_one", &told.version).await.unwrap());
            assert!(!gateways::knows_configuration(&store, &one, "gw_one", before).await.unwrap());
            assert!(!gateways::knows_configuration(&store, &other, "gw_one", &told.version).await.unwrap());
        }
        let tx = store.begin_write().await.unwrap();
        gateways::delete(&tx, &one, "gw_one").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(gateways::configuration(&store, &one, "gw_one").await.unwrap(), None);
    }

    a_credential_is_its_organizations_own(store) {
        let (one, other) = (organization(&store, "one").await, organization(&store, "other").await);
        let openai = name("openai");
        let tx = store.begin_write().await.unwrap();
        provider_credentials::insert(&tx, &one, &openai, "sealed", now()).await.unwrap();
        tx.commit().await.unwrap();
        let tx = store.begin_write().await.unwrap();
        let again = provider_credentials::insert(&tx, &one, &openai, "other", now()).await;
        assert!(matches!(again, Err(StoreError::Exists)));
        drop(tx);
        let tx = store.begin_write().await.unwrap();
        assert!(!provider_credentials::replace(&tx, &other, &openai, "stolen", now()).await.unwrap());
        assert!(!provider_credentials::delete(&tx, &other, &openai).await.unwrap());
        assert!(provider_credentials::replace(&tx, &one, &openai, "new", now() + minutes(1)).await.unwrap());
        tx.commit().await.unwrap();
        let sealed = provider_credentials::sealed(&store, &one, "openai").await.unwrap();
        assert_eq!(sealed.as_deref(), Some("new"));
        assert_eq!(provider_credentials::sealed(&store, &other, "openai").await.unwrap(), None);
        let listed = provider_credentials::page(&store, &one, None, 10).await.unwrap();
        assert_eq!((listed.len(), listed[0].replaced_at), (1, Some(now() + minutes(1))));
        let tx = store.begin_write().await.unwrap();
        assert!(provider_credentials::delete(&tx, &one, &openai).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(provider_credentials::page(&store, &one, None, 10).await.unwrap(), []);
    }
}
