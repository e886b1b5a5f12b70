-- How punctual a carrier's flights have arrived, today, this month and ever. A flight counts once it has landed.
CREATE FEATURE VIEW carrier_punctuality ENTITY carrier WITH (ttl = '30 days', max_staleness = '5 minutes', limit = 512) AS
SELECT carrier,
       count(*)                                             OVER d7   AS arrivals_7d,
       avg(arr_delay)                                       OVER d1   AS avg_delay_1d,
       avg(arr_delay)                                       OVER d30  AS avg_delay_30d,
       avg(arr_delay) OVER d1 - avg(arr_delay) OVER d30               AS delay_against_usual,
       avg(arr_delay)                                       OVER last_week AS avg_delay_last_week,
       stddev(arr_delay)                                    OVER d30  AS stddev_delay_30d,
       approx_percentile_cont(arr_delay, 0.5)               OVER d30  AS median_delay_30d,
       avg(CASE WHEN arr_delay > 15 THEN 1.0 ELSE 0.0 END)  OVER d30  AS late_share_30d,
       avg(CASE WHEN arr_delay > 15 THEN 1.0 ELSE 0.0 END)  OVER ever AS late_share_ever,
       count(DISTINCT dest)                                 OVER d7   AS destinations_7d
FROM arrivals
WINDOW d1        AS (PARTITION BY carrier ORDER BY departed_at RANGE BETWEEN INTERVAL '1 day'   PRECEDING AND CURRENT ROW),
       d7        AS (PARTITION BY carrier ORDER BY departed_at RANGE BETWEEN INTERVAL '7 days'  PRECEDING AND CURRENT ROW),
       d30       AS (PARTITION BY carrier ORDER BY departed_at RANGE BETWEEN INTERVAL '30 days' PRECEDING AND CURRENT ROW),
       last_week AS (PARTITION BY carrier ORDER BY departed_at RANGE BETWEEN INTERVAL '8 days'  PRECEDING AND INTERVAL '1 day' PRECEDING),
       ever      AS (PARTITION BY carrier ORDER BY departed_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
