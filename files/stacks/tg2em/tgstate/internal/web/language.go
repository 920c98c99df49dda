package web

import (
	"net/http"
	"strconv"
	"strings"
)

// language is zh or en: what the address asks for, else the browser's first of the two.
func language(r *http.Request) string {
	if l := r.URL.Query().Get("lang"); l == "zh" || l == "en" {
		return l
	}
	best, quality := "en", 0.0
	for _, field := range strings.Split(r.Header.Get("Accept-Language"), ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(field), ";")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(v, 64); err != nil {
				continue
			}
		}
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if (primary == "zh" || primary == "en") && q > quality {
			best, quality = primary, q
		}
	}
	return best
}

// withLanguage keeps a language that was chosen by hand.
func withLanguage(path string, r *http.Request) string {
	if l := r.URL.Query().Get("lang"); l == "zh" || l == "en" {
		return path + "?lang=" + l
	}
	return path
}

var texts = map[string]map[string]string{
	"en": {
		"title": "Image host", "other": "中文",
		"drop": "Drop files here", "or": "or paste a picture, or", "choose": "choose files",
		"limit": "up to", "each": "each", "closed": "This server only serves files; uploads are switched off.",
		"copyAll": "Copy all links", "clear": "Clear list",
		"copy": "Copy", "copied": "Copied", "copyFailed": "Select and copy:", "link": "Link",
		"waiting": "Waiting", "uploading": "Uploading", "storing": "Storing…", "done": "Done",
		"cancel": "Cancel", "cancelled": "Cancelled", "retry": "Try again", "remove": "Remove",
		"tooLarge": "Larger than this server accepts", "empty": "The file is empty",
		"network": "The connection broke off", "signIn": "Enter the password again",
		"noscript": "Without JavaScript one file at a time can be sent:", "send": "Upload",
		"password": "Password", "enter": "Continue", "passwordTitle": "Password needed",
		"wrong": "Wrong password.", "limited": "Too many attempts. Try again in a minute.",
	},
	"zh": {
		"title": "图床", "other": "English",
		"drop": "把文件拖到这里", "or": "也可以直接粘贴图片，或", "choose": "选择文件",
		"limit": "单个文件不超过", "each": "", "closed": "本服务只提供文件访问，上传已关闭。",
		"copyAll": "复制全部链接", "clear": "清空列表",
		"copy": "复制", "copied": "已复制", "copyFailed": "请手动选择并复制：", "link": "链接",
		"waiting": "等待中", "uploading": "上传中", "storing": "正在保存…", "done": "完成",
		"cancel": "取消", "cancelled": "已取消", "retry": "重试", "remove": "移除",
		"tooLarge": "文件超过服务器允许的大小", "empty": "文件是空的",
		"network": "连接中断", "signIn": "请重新输入密码",
		"noscript": "未启用 JavaScript 时，一次可上传一个文件：", "send": "上传",
		"password": "密码", "enter": "继续", "passwordTitle": "需要密码",
		"wrong": "密码错误。", "limited": "尝试次数过多，请一分钟后再试。",
	},
}
