//! The configuration of the page, as it stands there.

use super::*;
use crate::pages;
use crate::readings::{are_same, drawn, expected, line, newest_ms, reported};
use rumqttc::PublishResult;
use rumqttc::mqttbytes::v5::PubAckReason;

impl Topics {
    fn below(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::new()
        }
    }

    /// Nothing is retained below the name any more, and nobody's session is left who is known as `client_id`.
    fn clear(&self, client_id: &str) {
        for topic in self.retained().into_keys() {
            let topic = format!("{}/{topic}", self.name);
            self.acknowledged(&topic, b"", true);
        }
        self.runtime.block_on(async {
            let mut options = self.options(client_id);
            options.set_clean_start(true);
            let (client, mut events) = AsyncClient::builder(options).capacity(10).build();
            while !matches!(events.poll().await.unwrap(), Event::Incoming(Incoming::ConnAck(_))) {}
            client.disconnect().await.unwrap();
            while events.poll().await.is_ok() {}
        });
    }

    /// Publishes, and says whether somebody gets it.
    fn acknowledged(&self, topic: &str, payload: &[u8], retain: bool) -> bool {
        self.runtime.block_on(async {
            let (client, mut events) = self.client();
            let serving = tokio::spawn(async move { while events.poll().await.is_ok() {} });
            let options = PublishOptions::at_least_once().retain(retain);
            let notice = client.publish_tracked(topic, payload.to_vec(), options).await.unwrap();
            let PublishResult::Qos1(acknowledged) = notice.wait_async().await.unwrap() else {
                panic!("{topic}: not of quality 1")
            };
            client.disconnect().await.unwrap();
            serving.await.unwrap();
            acknowledged.reason == PubAckReason::Success
        })
    }
}

#[test]
fn the_page_runs_as_it_stands() {
    let (weather, statistics) = (Topics::below("weather"), Topics::below("statistics"));
    weather.clear("millstream-main");
    statistics.clear("millstream-sink");
    let [place] = pages::configured("mqtt", "127.0.0.1:1883", &weather.server);
    let readings = drawn(400, 10_000, &["harbour", "hill"], &["temperature"]);
    let expected = expected(&readings, 600_000, newest_ms(&readings));
    let running = Running::start(&place, &["run", "run.toml"]);
    let message = |number: usize| {
        let levels = format!("{}/readings", readings[number].key);
        (levels, (None, line(&readings[number], "").into_bytes()))
    };
    // Before the feed has subscribed nobody gets it.
    let (levels, (_, first)) = message(0);
    wait_for("a subscription", || {
        weather.acknowledged(&format!("weather/{levels}"), &first, false)
    });
    weather.publish(&(1..readings.len()).map(message).collect::<Vec<_>>());
    // The last of each station is retained.
    let last = expected.keys().map(|(start, _)| *start).max().unwrap();
    let mut expected = expected;
    expected.retain(|(start, _), _| *start == last);
    let topics = |all: &BTreeMap<String, String>| all.keys().cloned().collect::<Vec<_>>();
    wait_for("the last reports", || {
        let (retained, _) = statistics.kept();
        topics(&retained) == ["main/harbour", "main/hill"]
            && reported(retained.values().map(String::as_str))
                .keys()
                .eq(expected.keys())
    });
    ended(running);
    are_same(&reported(statistics.retained().values().map(String::as_str)), &expected);
    weather.clear("millstream-main");
}
