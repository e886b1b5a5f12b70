-- Where a plane is and how hard it is worked: its last departure from New York, and its days before that. A plane that
-- has flown a lot has little slack to make up a delay.
CREATE FEATURE VIEW plane_recent ENTITY plane WITH (ttl = '30 days', max_staleness = '2 minutes', limit = 128) AS
SELECT tailnum,
       last_value(departed_at)  OVER ever   AS last_departed_at,
       last_value(dest)         OVER ever   AS last_dest,
       last_value(carrier)      OVER ever   AS last_carrier,
       last_value(dep_delay)    OVER ever   AS last_delay,
       first_value(departed_at) OVER ever   AS first_departed_at,
       count(*)                 OVER ever   AS departures_ever,
       count(*)                 OVER d1     AS departures_1d,
       count(*)                 OVER d7     AS departures_7d,
       sum(distance)            OVER d7     AS miles_7d,
       count(DISTINCT dest)     OVER d30    AS destinations_30d,
       avg(dep_delay)           OVER last10 AS avg_delay_last_10,
       max(dep_delay)           OVER last10 AS worst_delay_last_10
FROM departures
WINDOW d1     AS (PARTITION BY tailnum ORDER BY departed_at RANGE BETWEEN INTERVAL '1 day'   PRECEDING AND CURRENT ROW),
       d7     AS (PARTITION BY tailnum ORDER BY departed_at RANGE BETWEEN INTERVAL '7 days'  PRECEDING AND CURRENT ROW),
       d30    AS (PARTITION BY tailnum ORDER BY departed_at RANGE BETWEEN INTERVAL '30 days' PRECEDING AND CURRENT ROW),
       last10 AS (PARTITION BY tailnum ORDER BY departed_at ROWS BETWEEN 9 PRECEDING AND CURRENT ROW),
       ever   AS (PARTITION BY tailnum ORDER BY departed_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
