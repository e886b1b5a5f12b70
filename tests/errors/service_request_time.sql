CREATE FEATURE SERVICE s AS
SELECT o.departures_1h
FROM REQUEST (origin VARCHAR, request_time TIMESTAMP PRIMARY KEY) r
LEFT JOIN airport_load o ON o.airport = r.origin;
