CREATE FEATURE SERVICE s WITH ('default.dealy' = 0, 'default.delay' = NULL, 'default.departures_1h' = 0, 'default.DEPARTURES_1H' = 1, defaults = 3, 'default.x' = ['a']) AS
SELECT o.departures_1h, o.avg_delay_1h AS delay
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin;
