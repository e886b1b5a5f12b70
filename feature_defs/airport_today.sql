-- How the day has gone at an airport since midnight in New York, where all the departures are: delays build up over a
-- day and are gone the next morning.
CREATE FEATURE VIEW airport_today ENTITY airport WITH (ttl = '1 day', max_staleness = '2 minutes') AS
SELECT origin AS airport,
       count(*)                               OVER today AS departures_today,
       count(*) FILTER (WHERE dep_delay > 15) OVER today AS late_departures_today,
       avg(dep_delay)                         OVER today AS avg_delay_today,
       first_value(dep_delay)                 OVER today AS first_delay_today,
       sum(greatest(dep_delay, 0.0))          OVER today AS minutes_lost_today
FROM departures
WINDOW today AS (
  PARTITION BY origin, date_trunc('day', departed_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York')
  ORDER BY departed_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
);
