-- What the delay model takes: will this flight arrive more than 15 minutes late? It is asked two hours before the scheduled
-- departure, so that r.request_time is that moment and the flight itself is no event yet.
--
-- An airport plays three roles: where the flight starts, where it goes, and where its plane was last sent from New York
-- and has to come back from.
CREATE FEATURE SERVICE delay_v1 WITH (
  'default.origin_avg_delay_1h' = 0, 'default.plane_avg_delay_last_10' = 0, 'default.plane_hours_since_departure' = 720
) AS
SELECT r.distance * 1.609344 AS distance_km,
       date_part('hour', r.scheduled_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York') AS scheduled_hour,
       date_part('dow', r.scheduled_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York') AS scheduled_weekday,

       o.departures_1h       AS origin_departures_1h,
       o.share_last_hour     AS origin_share_last_hour,
       o.avg_delay_1h        AS origin_avg_delay_1h,
       o.avg_delay_1d        AS origin_avg_delay_1d,
       o.delay_against_usual AS origin_delay_against_usual,
       o.late_departures_1h  AS origin_late_departures_1h,
       o.late_share_7d       AS origin_late_share_7d,
       o.p90_delay_30d       AS origin_p90_delay_30d,
       o.avg_delay_week_ago  AS origin_avg_delay_week_ago,
       t.late_departures_today AS origin_late_departures_today,
       t.avg_delay_today     AS origin_avg_delay_today,
       t.minutes_lost_today  AS origin_minutes_lost_today,

       ot.cancellations_6h   AS origin_cancellations_6h,
       ot.cancelled_share_7d AS origin_cancelled_share_7d,
       dt.movements_6h       AS dest_movements_6h,
       dt.avg_delay_6h       AS dest_avg_delay_6h,
       dt.avg_delay_1d       AS dest_avg_delay_1d,
       dt.very_late_share_1d AS dest_very_late_share_1d,
       bt.avg_delay_6h       AS inbound_avg_delay_6h,
       bt.avg_delay_1d       AS inbound_avg_delay_1d,

       w.temp                AS origin_temp,
       w.wind_max_3h         AS origin_wind_max_3h,
       w.rain_3h             AS origin_rain_3h,
       w.visib_min_3h        AS origin_visib_min_3h,
       w.pressure_change_3h  AS origin_pressure_change_3h,

       c.avg_delay_1d        AS carrier_avg_delay_1d,
       c.delay_against_usual AS carrier_delay_against_usual,
       c.late_share_30d      AS carrier_late_share_30d,
       c.late_share_ever     AS carrier_late_share_ever,

       p.departures_1d       AS plane_departures_1d,
       p.miles_7d            AS plane_miles_7d,
       p.last_delay          AS plane_last_delay,
       p.avg_delay_last_10   AS plane_avg_delay_last_10,
       date_part('epoch', r.request_time - p.last_departed_at) / 3600.0 AS plane_hours_since_departure,
       p.last_carrier = r.carrier AS plane_is_of_carrier,
       pp.avg_delay_last_10  AS plane_avg_arrival_delay_last_10,
       pp.late_of_last_10    AS plane_late_of_last_10,
       pp.hours_in_air_7d    AS plane_hours_in_air_7d,

       rh.avg_air_time_30d   AS route_avg_air_time_30d,
       rh.headwind_last_10   AS route_headwind_last_10,
       rh.late_share_30d     AS route_late_share_30d,
       rh.p90_delay_30d      AS route_p90_delay_30d,
       o.avg_delay_1h - rh.avg_delay_7d AS delay_against_route
FROM REQUEST (origin VARCHAR, dest VARCHAR, carrier VARCHAR, tailnum VARCHAR, distance DOUBLE, scheduled_at TIMESTAMP) r
LEFT JOIN airport_load        o  ON o.airport  = r.origin
LEFT JOIN airport_today       t  ON t.airport  = r.origin
LEFT JOIN airport_traffic     ot ON ot.airport = r.origin
LEFT JOIN airport_traffic     dt ON dt.airport = r.dest
LEFT JOIN airport_weather     w  ON w.airport  = r.origin
LEFT JOIN carrier_punctuality c  ON c.carrier  = r.carrier
LEFT JOIN plane_recent        p  ON p.tailnum  = r.tailnum
LEFT JOIN airport_traffic     bt ON bt.airport = p.last_dest
LEFT JOIN plane_punctuality   pp ON pp.tailnum = r.tailnum
LEFT JOIN route_history       rh ON rh.origin  = r.origin AND rh.dest = r.dest;
