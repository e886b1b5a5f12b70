-- What is usual between two airports: how long the flight takes, how much that varies, how often it is late. A flight
-- counts once it has landed.
CREATE FEATURE VIEW route_history ENTITY route WITH (ttl = '90 days', max_staleness = '5 minutes', limit = 64) AS
SELECT origin, dest,
       count(*)                                             OVER d30    AS flights_30d,
       count(DISTINCT carrier)                              OVER d30    AS carriers_30d,
       avg(air_time)                                        OVER d30    AS avg_air_time_30d,
       stddev(air_time)                                     OVER d30    AS stddev_air_time_30d,
       min(air_time)                                        OVER ever   AS shortest_air_time,
       max(air_time)                                        OVER ever   AS longest_air_time,
       (avg(air_time) OVER last10 - min(air_time) OVER ever)
         / nullif(max(air_time) OVER ever - min(air_time) OVER ever, 0.0) AS headwind_last_10,
       avg(arr_delay)                                       OVER last10 AS avg_delay_last_10,
       avg(arr_delay)                                       OVER d7     AS avg_delay_7d,
       avg(CASE WHEN arr_delay > 15 THEN 1.0 ELSE 0.0 END)  OVER d30    AS late_share_30d,
       approx_percentile_cont(arr_delay, 0.9)               OVER d30    AS p90_delay_30d
FROM arrivals
WINDOW d7     AS (PARTITION BY origin, dest ORDER BY departed_at RANGE BETWEEN INTERVAL '7 days'  PRECEDING AND CURRENT ROW),
       d30    AS (PARTITION BY origin, dest ORDER BY departed_at RANGE BETWEEN INTERVAL '30 days' PRECEDING AND CURRENT ROW),
       last10 AS (PARTITION BY origin, dest ORDER BY departed_at ROWS BETWEEN 9 PRECEDING AND CURRENT ROW),
       ever   AS (PARTITION BY origin, dest ORDER BY departed_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
