-- Everything that moves at an airport, or should have: departures from it, arrivals at it, cancellations. It describes
-- either end of a flight, so that a service can join it once per role.
CREATE FEATURE VIEW airport_traffic ENTITY airport WITH (ttl = '7 days', max_staleness = '5 minutes') AS
SELECT airport,
       count(*) FILTER (WHERE kind <> 'cancellation')               OVER h6 AS movements_6h,
       count(*) FILTER (WHERE kind = 'cancellation')                OVER h6 AS cancellations_6h,
       count(*) FILTER (WHERE kind = 'cancellation')                OVER d1 AS cancellations_1d,
       avg(CASE WHEN kind = 'cancellation' THEN 1.0 ELSE 0.0 END)   OVER d7 AS cancelled_share_7d,
       bool_or(kind = 'cancellation')                               OVER h1 AS any_cancelled_1h,
       avg(delay)                                                   OVER h6 AS avg_delay_6h,
       avg(delay)                                                   OVER d1 AS avg_delay_1d,
       max(delay)                                                   OVER d1 AS worst_delay_1d,
       count(*) FILTER (WHERE delay > 60) OVER d1 / nullif(count(delay) OVER d1, 0.0) AS very_late_share_1d
FROM (
  SELECT origin AS airport, 'departure' AS kind, dep_delay AS delay, departed_at AS moved_at FROM departures
  UNION ALL
  SELECT dest, 'arrival', arr_delay, departed_at FROM arrivals
  UNION ALL
  SELECT origin, 'cancellation', CAST(NULL AS DOUBLE), scheduled_at FROM cancellations
) AS traffic
WINDOW h1 AS (PARTITION BY airport ORDER BY moved_at RANGE BETWEEN INTERVAL '1 hour'  PRECEDING AND CURRENT ROW),
       h6 AS (PARTITION BY airport ORDER BY moved_at RANGE BETWEEN INTERVAL '6 hours' PRECEDING AND CURRENT ROW),
       d1 AS (PARTITION BY airport ORDER BY moved_at RANGE BETWEEN INTERVAL '1 day'   PRECEDING AND CURRENT ROW),
       d7 AS (PARTITION BY airport ORDER BY moved_at RANGE BETWEEN INTERVAL '7 days'  PRECEDING AND CURRENT ROW);
