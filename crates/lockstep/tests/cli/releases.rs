//! `release`: what serves, as people read it.

use crate::support::Place;

#[test]
fn a_change_is_validated_promoted_and_gone_back_from() {
    let mut place = Place::serving();
    place.say("release list");
    place.say("release show");
    place.say("release rollback");
    place.note("the first is what serves already");
    place.say("release promote --by ada --reason first");
    place.say("release promote");
    place.note("a feature changes, and is filled beside what serves");
    place.edit(
        "feature_defs/card_activity.sql",
        "sum(amount)                            OVER h1    AS spent_1h",
        "sum(amount + 1)                        OVER h1    AS spent_1h",
    );
    place.say("apply");
    place.say("release promote");
    place.say("backfill");
    place.say("get card_activity card=c1 --as-of 2024-03-07T14:35:00Z");
    place.say("release validate");
    place.say("release promote --by ada --reason fees");
    place.say("get card_activity card=c1 --as-of 2024-03-07T14:35:00Z");
    place.say("release show");
    place.note("what it was validated on can be validated again, beside what served then");
    place.say("snapshot validate s0002");
    place.say("snapshot validate s0002 --against s0001");
    place.say("release diff 1 2");
    place.say("release diff 1 1");
    place.say("release diff 1 3");
    place.note("and back");
    place.say("drop card_activity@2");
    place.say("release rollback --by grace --reason wrong");
    place.say("get card_activity card=c1 --as-of 2024-03-07T14:35:00Z");
    place.say("release rollback");
    place.say("release rollback 1");
    place.say("release list");
    place.say("verify --set 2");
    place.say("verify --set 3");
    place.note("a view that lost its rows may not serve, unless it is forced");
    place.edit("feature_defs/card_activity.sql", "WHERE amount > 0", "WHERE amount > 1000000");
    place.say("apply");
    place.say("backfill");
    place.say("release promote");
    place.say("snapshot create lost --set 3");
    place.say("snapshot validate lost --against serving");
    place.say("release promote --force --by grace");
    place.say("release list");
    place.check("releases");
}
