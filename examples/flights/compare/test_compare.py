"""What the comparison says, on flights few enough to see: `run.sh` runs it first."""

import unittest

import duckdb
import numpy as np

import baseline
import compare


class Features(unittest.TestCase):
    """One airport, one flight that landed before anybody asks, and one that had left and not landed."""

    def setUp(self):
        self.connection = duckdb.connect()
        flight = "SELECT {} AS flight_id, 'JFK' AS origin, 'LAX' AS dest, 'UA' AS carrier, 'N1' AS tailnum, {}::DOUBLE AS {}, TIMESTAMP '2013-07-01 {}' AS departed_at, TIMESTAMP '2013-07-01 {}' AS known_at"
        departures = [flight.format(1, 20, "dep_delay", "06:00", "06:00"), flight.format(2, 4, "dep_delay", "09:30", "09:30")]
        arrivals = [flight.format(1, 30, "arr_delay", "06:00", "08:00"), flight.format(2, 90, "arr_delay", "09:30", "12:00")]
        for table, rows in [("departures", departures), ("arrivals", arrivals)]:
            self.connection.sql(f"CREATE TABLE {table} AS {' UNION ALL '.join(rows)}")
        asked = "SELECT 1 AS row, TIMESTAMP '2013-07-01 {}' AS request_time, TIMESTAMP '2013-07-01 12:00' AS scheduled_at, 'JFK' AS origin, 'LAX' AS dest, 'UA' AS carrier, 'N1' AS tailnum"
        for table, at in [("at_ten", "10:00"), ("at_once", "09:31")]:
            self.connection.sql(f"CREATE TABLE {table} AS {asked.format(at)}")

    def values(self, *asked):
        return dict(zip(baseline.FEATURES, compare.matrix(self.connection, baseline.features(*asked))[0]))

    def test_event_time_counts_what_nobody_knew(self):
        known, event = self.values("at_ten", "known_at"), self.values("at_ten", None)
        self.assertEqual((known["origin_arr_delay_6h"], event["origin_arr_delay_6h"]), (30.0, 60.0))
        self.assertEqual((known["origin_departures_1h"], known["origin_dep_delay_1d"], known["origin_late_departures_1h"]), (1.0, 12.0, 0.0))
        self.assertEqual((known["route_late_share_30d"], known["plane_departures_1d"], known["scheduled_hour"]), (1.0, 2.0, 8.0))

    def test_a_late_cache_misses_what_just_happened(self):
        now, late = self.values("at_once", "known_at"), self.values("at_once", "known_at", "2 minutes")
        self.assertEqual((now["origin_departures_1h"], late["origin_departures_1h"]), (1.0, 0.0))
        self.assertTrue(np.isnan(late["origin_dep_delay_1h"]))


class Numbers(unittest.TestCase):
    def test_what_differs(self):
        a, b = np.array([1.0, 1.0, np.nan, np.nan, 0.0]), np.array([1.0 + 1e-12, 1.1, np.nan, 1.0, 0.0])
        self.assertEqual(compare.differ(a, b).tolist(), [False, True, False, True, False])

    def test_an_auc_is_the_share_of_pairs_in_order(self):
        labels, said = np.array([0, 1, 1, 0, 1]), np.array([0.1, 0.4, 0.9, 0.4, 0.3])
        pairs = [(x > y) + (x == y) / 2 for x in said[labels == 1] for y in said[labels == 0]]
        self.assertAlmostEqual(compare.roc_auc_score(labels, said), sum(pairs) / len(pairs))


if __name__ == "__main__":
    unittest.main()
