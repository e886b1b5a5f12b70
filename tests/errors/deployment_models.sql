CREATE FEATURE SERVICE delay AS SELECT o.departures_1h, r.origin FROM REQUEST (origin VARCHAR) r LEFT JOIN airport_load o ON o.airport = r.origin;
CREATE FEATURE SERVICE plane AS SELECT p.departures_1d FROM REQUEST (tailnum VARCHAR) r LEFT JOIN plane_recent p ON p.tailnum = r.tailnum;
CREATE MODEL late FROM 'late.onnx' USING delay (x => (departures_1h)) PREDICT (p DOUBLE, is_late BOOLEAN, why VARCHAR, parts DOUBLE[]);
CREATE MODEL simple FROM 'simple.onnx' USING delay (x => (departures_1h)) PREDICT (p DOUBLE, is_late BIGINT);
CREATE MODEL other FROM 'other.onnx' USING plane (x => (departures_1d)) PREDICT (p DOUBLE, is_late BOOLEAN, why VARCHAR, parts DOUBLE[]);

CREATE DEPLOYMENT a AS lat;
CREATE DEPLOYMENT b AS late WITH (fallback = 'simple', shadow = 'late');
CREATE DEPLOYMENT c AS late WITH (fallback = 'other', shadow = 'nobody');
CREATE DEPLOYMENT d AS late WITH (when_missing = 'fallback', when_stale = 'default', 'default.p' = 0.5);
CREATE DEPLOYMENT late AS late;
