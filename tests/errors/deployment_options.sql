CREATE FEATURE SERVICE delay AS SELECT o.departures_1h, r.origin FROM REQUEST (origin VARCHAR) r LEFT JOIN airport_load o ON o.airport = r.origin;
CREATE FEATURE SERVICE plane AS SELECT p.departures_1d FROM REQUEST (tailnum VARCHAR) r LEFT JOIN plane_recent p ON p.tailnum = r.tailnum;
CREATE MODEL late FROM 'late.onnx' USING delay (x => (departures_1h)) PREDICT (p DOUBLE, is_late BOOLEAN, why VARCHAR, parts DOUBLE[]);
CREATE MODEL simple FROM 'simple.onnx' USING delay (x => (departures_1h)) PREDICT (p DOUBLE, is_late BIGINT);
CREATE MODEL other FROM 'other.onnx' USING plane (x => (departures_1d)) PREDICT (p DOUBLE, is_late BOOLEAN, why VARCHAR, parts DOUBLE[]);

CREATE DEPLOYMENT a AS late WITH (max_batch = 0, queue = 2000000, threads = 1000, timeout = '0 ms', max_wait = '5 s');
CREATE DEPLOYMENT b AS late WITH (timeout = '50 ms', max_wait = '51 ms', when_missing = 'nan', fallbck = 'simple', threads = '2');
CREATE DEPLOYMENT c AS late WITH ('default.p' = 'half', 'default.is_late' = 1, 'default.why' = true, 'default.parts' = 1);
CREATE DEPLOYMENT d AS late WITH ('default.probability' = 1, 'default.p' = 0, 'default.p' = 1, 'default.why' = NULL);
