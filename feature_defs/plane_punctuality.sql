-- How late a plane has come in lately, and whether it makes up time in the air. A flight counts once it has landed.
CREATE FEATURE VIEW plane_punctuality ENTITY plane WITH (ttl = '30 days', max_staleness = '5 minutes') AS
SELECT tailnum,
       max(arrived_at)                         OVER ever   AS last_arrived_at,
       last_value(arr_delay)                   OVER ever   AS last_delay,
       avg(arr_delay)                          OVER last10 AS avg_delay_last_10,
       count(*) FILTER (WHERE arr_delay > 15)  OVER last10 AS late_of_last_10,
       sum(air_time) OVER d7 / 60.0                        AS hours_in_air_7d,
       avg(arr_delay)                          OVER d30    AS avg_delay_30d
FROM arrivals
WINDOW d7     AS (PARTITION BY tailnum ORDER BY departed_at RANGE BETWEEN INTERVAL '7 days'  PRECEDING AND CURRENT ROW),
       d30    AS (PARTITION BY tailnum ORDER BY departed_at RANGE BETWEEN INTERVAL '30 days' PRECEDING AND CURRENT ROW),
       last10 AS (PARTITION BY tailnum ORDER BY departed_at ROWS BETWEEN 9 PRECEDING AND CURRENT ROW),
       ever   AS (PARTITION BY tailnum ORDER BY departed_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
