CREATE FEATURE SERVICE s AS
SELECT o.departures_1h
FROM REQUEST (origin VARCHAR, distance BIGINT, departed_at TIMESTAMP) AS departures r
LEFT JOIN airport_load o ON o.airport = r.origin;
