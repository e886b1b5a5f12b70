-- Will a flight arrive more than 15 minutes late? Few features, and such as a team would write by hand as well: counts, means and shares over sliding windows, of what the comparison can say in
-- two languages. What is asked when is the same as in delay_v1: two hours before the flight is due.
CREATE ENTITY airport (airport VARCHAR);
CREATE ENTITY carrier (carrier VARCHAR);
CREATE ENTITY plane   (tailnum VARCHAR);
CREATE ENTITY route   (origin VARCHAR, dest VARCHAR);

CREATE SOURCE departures (
  flight_id BIGINT, carrier VARCHAR, tailnum VARCHAR, origin VARCHAR, dest VARCHAR, dep_delay DOUBLE, departed_at TIMESTAMP,
  PRIMARY KEY (flight_id)
) WITH (event_time = 'departed_at', allowed_lateness = '24 hours', history = 'all', batch = '../data/departures.parquet');

-- Happened to a flight that departed at departed_at, and known to nobody before arrived_at.
CREATE SOURCE arrivals (
  flight_id BIGINT, carrier VARCHAR, tailnum VARCHAR, origin VARCHAR, dest VARCHAR, arr_delay DOUBLE, departed_at TIMESTAMP, arrived_at TIMESTAMP,
  PRIMARY KEY (flight_id)
) WITH (event_time = 'departed_at', available_at = 'arrived_at', allowed_lateness = '24 hours', history = 'all', batch = '../data/arrivals.parquet');

CREATE FEATURE VIEW origin_departures ENTITY airport AS
SELECT origin AS airport,
       count(*)                                            OVER h1 AS departures_1h,
       count(*) FILTER (WHERE dep_delay > 15)              OVER h1 AS late_departures_1h,
       avg(dep_delay)                                      OVER h1 AS dep_delay_1h,
       avg(dep_delay)                                      OVER d1 AS dep_delay_1d
FROM departures
WINDOW h1 AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW),
       d1 AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 day'  PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW origin_arrivals ENTITY airport AS
SELECT origin AS airport,
       avg(arr_delay)                                      OVER h6 AS arr_delay_6h,
       avg(CASE WHEN arr_delay > 15 THEN 1.0 ELSE 0.0 END) OVER h6 AS late_share_6h
FROM arrivals
WINDOW h6 AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '6 hours' PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW carrier_arrivals ENTITY carrier AS
SELECT carrier,
       avg(arr_delay)                                      OVER d1 AS arr_delay_1d,
       avg(CASE WHEN arr_delay > 15 THEN 1.0 ELSE 0.0 END) OVER d7 AS late_share_7d
FROM arrivals
WINDOW d1 AS (PARTITION BY carrier ORDER BY departed_at RANGE BETWEEN INTERVAL '1 day'  PRECEDING AND CURRENT ROW),
       d7 AS (PARTITION BY carrier ORDER BY departed_at RANGE BETWEEN INTERVAL '7 days' PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW plane_departures ENTITY plane AS
SELECT tailnum,
       count(*)                                            OVER d1 AS departures_1d,
       avg(dep_delay)                                      OVER d1 AS dep_delay_1d
FROM departures
WINDOW d1 AS (PARTITION BY tailnum ORDER BY departed_at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW route_arrivals ENTITY route AS
SELECT origin, dest,
       avg(arr_delay)                                      OVER d7  AS arr_delay_7d,
       avg(CASE WHEN arr_delay > 15 THEN 1.0 ELSE 0.0 END) OVER d30 AS late_share_30d
FROM arrivals
WINDOW d7  AS (PARTITION BY origin, dest ORDER BY departed_at RANGE BETWEEN INTERVAL '7 days'  PRECEDING AND CURRENT ROW),
       d30 AS (PARTITION BY origin, dest ORDER BY departed_at RANGE BETWEEN INTERVAL '30 days' PRECEDING AND CURRENT ROW);

CREATE FEATURE SERVICE late_v1 AS
SELECT o.departures_1h      AS origin_departures_1h,
       o.late_departures_1h AS origin_late_departures_1h,
       o.dep_delay_1h       AS origin_dep_delay_1h,
       o.dep_delay_1d       AS origin_dep_delay_1d,
       a.arr_delay_6h       AS origin_arr_delay_6h,
       a.late_share_6h      AS origin_late_share_6h,
       c.arr_delay_1d       AS carrier_arr_delay_1d,
       c.late_share_7d      AS carrier_late_share_7d,
       p.departures_1d      AS plane_departures_1d,
       p.dep_delay_1d       AS plane_dep_delay_1d,
       h.arr_delay_7d       AS route_arr_delay_7d,
       h.late_share_30d     AS route_late_share_30d,
       date_part('hour', r.scheduled_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York') AS scheduled_hour
FROM REQUEST (origin VARCHAR, dest VARCHAR, carrier VARCHAR, tailnum VARCHAR, scheduled_at TIMESTAMP) r
LEFT JOIN origin_departures o ON o.airport = r.origin
LEFT JOIN origin_arrivals   a ON a.airport = r.origin
LEFT JOIN carrier_arrivals  c ON c.carrier = r.carrier
LEFT JOIN plane_departures  p ON p.tailnum = r.tailnum
LEFT JOIN route_arrivals    h ON h.origin  = r.origin AND h.dest = r.dest;
