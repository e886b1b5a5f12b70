-- The weather at an airport of departure as far as it is published: an observation counts once it is an hour old.
-- One gauge reported a wind of 1,048 miles an hour, so that the wind is believed up to 200.
CREATE FEATURE VIEW airport_weather ENTITY airport WITH (ttl = '12 hours', max_staleness = '30 minutes') AS
SELECT origin AS airport,
       last_value(temp)                                  OVER h3 AS temp,
       max(temp) OVER d1 - min(temp) OVER d1                     AS temp_range_1d,
       count(*) FILTER (WHERE temp <= 32)                OVER d1 AS freezing_hours_1d,
       avg(humid)                                        OVER d1 AS avg_humid_1d,
       max(wind_speed) FILTER (WHERE wind_speed < 200)   OVER h3 AS wind_max_3h,
       max(wind_gust)                                    OVER d1 AS gust_max_1d,
       sum(precip)                                       OVER h3 AS rain_3h,
       sum(precip)                                       OVER d1 AS rain_1d,
       min(visib)                                        OVER h3 AS visib_min_3h,
       last_value(pressure) OVER h3 - first_value(pressure) OVER h3 AS pressure_change_3h
FROM weather
WINDOW h3 AS (PARTITION BY origin ORDER BY observed_at RANGE BETWEEN INTERVAL '3 hours' PRECEDING AND CURRENT ROW),
       d1 AS (PARTITION BY origin ORDER BY observed_at RANGE BETWEEN INTERVAL '1 day'   PRECEDING AND CURRENT ROW);
