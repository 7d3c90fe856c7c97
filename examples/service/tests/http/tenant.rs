//! A lock for each tenant, all of them on one session.

use advisory_core::AdvisoryLock;
use advisory_tests::scalar;
use futures_util::future::join_all;

use crate::client;
use crate::fleet::Fleet;

const TENANTS: usize = 200;

#[tokio::test]
async fn many_tenants_import_at_once_and_one_tenant_does_not() {
    let fleet = Fleet::start(&["--max-connections", "3"]).await;
    let addresses = [fleet.one.address, fleet.two.address];
    let import = async |tenant: usize| {
        let path = format!("/tenants/{tenant}/import");
        client::post(addresses[tenant % 2], &path, "[1, 2, 3]")
            .await
            .unwrap()
    };
    for answer in join_all((0..TENANTS).map(import)).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let count: i64 = scalar(&fleet.pool, "SELECT count(*) FROM item").await;
    assert_eq!(usize::try_from(count), Ok(3 * TENANTS));

    let busy = AdvisoryLock::new("tenant:7").begin(&fleet.pool).await;
    assert_eq!(import(7).await.status, 409);
    assert_eq!(import(8).await.status, 200);
    busy.unwrap().rollback().await.unwrap();
    assert_eq!(import(7).await.status, 200);

    fleet.shut_down().await;
}
