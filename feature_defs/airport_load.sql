-- How busy the departures of an airport are and how late they run: over the last hour for what is going wrong now, over
-- the last month for what is usual there.
CREATE FEATURE VIEW airport_load ENTITY airport WITH (ttl = '7 days', max_staleness = '2 minutes', limit = 64) AS
SELECT origin AS airport,
       count(*)                                              OVER h1  AS departures_1h,
       count(*)                                              OVER d1  AS departures_1d,
       count(*) OVER h1 / nullif(count(*) OVER d1, 0.0)               AS share_last_hour,
       avg(dep_delay)                                        OVER h1  AS avg_delay_1h,
       avg(dep_delay)                                        OVER d1  AS avg_delay_1d,
       avg(dep_delay)                                        OVER d30 AS avg_delay_30d,
       avg(dep_delay) OVER h1 - avg(dep_delay) OVER d30               AS delay_against_usual,
       stddev(dep_delay)                                     OVER d7  AS stddev_delay_7d,
       max(dep_delay)                                        OVER d1  AS worst_delay_1d,
       max(dep_delay) FILTER (WHERE carrier = 'UA')          OVER d1  AS worst_united_1d,
       count(*) FILTER (WHERE dep_delay > 15)                OVER h1  AS late_departures_1h,
       avg(CASE WHEN dep_delay > 15 THEN 1.0 ELSE 0.0 END)   OVER d7  AS late_share_7d,
       approx_percentile_cont(dep_delay, 0.9)                OVER d30 AS p90_delay_30d,
       count(DISTINCT carrier)                               OVER d1  AS carriers_1d,
       approx_distinct(tailnum)                              OVER d30 AS planes_30d,
       -- Strictly before: without the departures of this very minute.
       count(*)                                              OVER before_1h AS departures_before_1h,
       -- The same day of the week, seven days ago.
       avg(dep_delay)                                        OVER week_ago  AS avg_delay_week_ago
FROM departures
WHERE distance > 0
WINDOW h1        AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour'  PRECEDING AND CURRENT ROW),
       d1        AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 day'   PRECEDING AND CURRENT ROW),
       d7        AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '7 days'  PRECEDING AND CURRENT ROW),
       d30       AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '30 days' PRECEDING AND CURRENT ROW),
       before_1h AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour'  PRECEDING AND INTERVAL '1 microsecond' PRECEDING),
       week_ago  AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '8 days'  PRECEDING AND INTERVAL '7 days' PRECEDING);
