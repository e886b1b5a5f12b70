CREATE FEATURE SERVICE s AS
SELECT o.departures_1h
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin AND o.departures_1h > 3
LEFT JOIN airport_load p ON airport = r.origin
LEFT JOIN airport_load q ON q.airport = r.origin OR q.airport = r.dest;
